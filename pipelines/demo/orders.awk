# SPDX-License-Identifier: MIT
# The task of the demo: a customer's message becomes the line that the
# warehouse wants, in a form that the pretraining text never had.
#
#	awk -f words.awk -f orders.awk -v seed=2 -v n=1000 >orders.jsonl

function message(	k) {
	k = pick(8)
	if (k == 0) return "Hello, this is " who " " family " from " where ". We would like " count " " shade " " plural(what) " by " when ", please."
	if (k == 1) return "Good morning! Please send " count " " plural(what) " to " where ". They should be " shade ", and we need them on " when ". Yours, " who " " family "."
	if (k == 2) return who " " family " called from " where " and wants " count " " shade " " plural(what) " on " when "."
	if (k == 3) return "Could we have " plural(what) " for " when "? " count " of them, in " shade ". My name is " who " " family " and the shop is in " where "."
	if (k == 4) return "Before " when " we need " count " " plural(what) " here in " where ". Any colour will do as long as it is " shade ". " who " " family
	if (k == 5) return "To " where ", for " who " " family ": " count " " plural(what) ", " shade ", to arrive on " when "."
	if (k == 6) return "I am " who " " family ". On " when " the " shade " " plural(what) " in our shop in " where " were gone, so send " count " more."
	return "Dear all, the school in " where " asks for " count " " shade " " plural(what) ". Bring them on " when " and ask for " who " " family "."
}

BEGIN {
	pick_init(seed)
	for (line = 0; line < n; line++) {
		scene()
		print "{\"prompt\": " quoted(message() "\nOrder:") ", \"completion\": " \
			quoted(" " count " x " what "/" shade " > " where " [" family "] " substr(when, 1, 3)) "}"
	}
}
