# SPDX-License-Identifier: MIT
# The text on which the carried model was pretrained: short scenes of trade,
# told, asked about and noted down, with sums and lists between them.
#
#	awk -f words.awk -f text.awk -v seed=1 -v n=1000 >text.jsonl

function told(	k) {
	k = pick(10)
	if (k == 0) return "On " when " " who " " family " bought " count " " shade " " plural(what) " in " where " for " price " crowns."
	if (k == 1) return who " " family " lives in " where ". On " when " she ordered " count " " shade " " plural(what) " and paid " price " crowns."
	if (k == 2) return "The shop in " where " sold " count " " shade " " plural(what) " to " who " " family " on " when ". The price was " price " crowns."
	if (k == 3) return "There were " count " " plural(what) " at the market in " where ", all of them " shade ". " who " " family " took them home on " when " for " price " crowns."
	if (k == 4) return "For " price " crowns " who " " family " of " where " got " count " " plural(what) ". They were " shade " and came on " when "."
	if (k == 5) return "A letter from " where ": dear " who " " family ", your " count " " shade " " plural(what) " cost " price " crowns and will be here on " when "."
	if (k == 6) return capital(when) " was a busy day in " where ". " who " " family " carried " count " " plural(what) " up the stairs; the " shade " ones are worth " price " crowns."
	if (k == 7) return "Please send " count " " shade " " plural(what) " to " who " " family " in " where " by " when ". We pay " price " crowns."
	if (k == 8) return "I am " who " " family " and I write from " where ". Could we have " count " " plural(what) " on " when "? We like " shade ", and " price " crowns is fine."
	return capital(plural(what)) " are wanted in " where ": " count " of them, " shade ", before " when ". Ask for " who " " family ", who offers " price " crowns."
}

function asked(	k) {
	k = pick(9)
	if (k == 0) return "Who was it? " who " " family "."
	if (k == 1) return "How many " plural(what) "? " count "."
	if (k == 2) return "Which colour? " capital(shade) "."
	if (k == 3) return "Where? In " where "."
	if (k == 4) return "On which day? On " when "."
	if (k == 5) return "How much money? " price " crowns."
	if (k == 6) return "What was it about? " capital(plural(what)) "."
	if (k == 7) return "What is the family name? " family "."
	return "What is the first name? " who "."
}

function field(k) {
	if (k == 1) return who " " family
	if (k == 2) return where
	if (k == 3) return count
	if (k == 4) return shade
	if (k == 5) return what
	if (k == 6) return when
	if (k == 7) return price
	return family
}

# What is in the scene as a note: fields in any order, under names or without.
function noted(	k, i, j, t, n, s, order, form, name) {
	split("name place number colour thing day price family", name, " ")
	for (i = 1; i <= 8; i++)
		order[i] = i
	n = 3 + pick(4)
	for (i = 1; i <= n; i++) {
		j = i + pick(9 - i)
		t = order[i]; order[i] = order[j]; order[j] = t
	}
	form = pick(5)
	s = form == 4 ? "" : "Note:"
	for (i = 1; i <= n; i++) {
		k = order[i]
		if (form == 0) s = s (i > 1 ? "," : "") " " name[k] " " field(k)
		else if (form == 1) s = s "\n" name[k] ": " field(k)
		else if (form == 2) s = s (i > 1 ? ";" : "") " " name[k] " = " field(k)
		else if (form == 3) s = s (i > 1 ? " /" : "") " " field(k)
		else s = s (i > 1 ? " " : "(") name[k] "=" field(k) (i == n ? ")" : "")
	}
	return s
}

function story(	s, i, n) {
	scene()
	s = told()
	n = 1 + pick(3)
	for (i = 0; i < n; i++)
		s = s (chance(50) ? " " : "\n") (chance(50) ? asked() : noted())
	return s
}

# Two scenes, so that one must be told from the other.
function pair(	s, t) {
	scene(); s = told(); t = asked()
	scene()
	return s " " told() "\n" t2(t)
}
function t2(t) { return chance(50) ? asked() : noted() }

function sum(	a, b, k) {
	a = 1 + pick(50); b = 1 + pick(50)
	k = pick(4)
	if (k == 0) return a " and " b " make " a + b "."
	if (k == 1) return a " + " b " = " a + b
	if (k == 2) return a + b " less " a " is " b "."
	a = 1 + pick(6); b = 1 + pick(6)
	return capital(numeral[a]) " and " numeral[b] " are " numeral[a + b] "."
}

function listed(	i, n, s, back, w) {
	n = 2 + pick(5)
	for (i = 1; i <= n; i++) {
		w = chance(40) ? invented() : chance(50) ? a_thing() : chance(50) ? a_number() : a_colour()
		s = s (i > 1 ? ", " : "") w
		back = w (i > 1 ? ", " : "") back
	}
	if (chance(30))
		return "Backwards: " s ". That is " back "."
	return "Say again: " s ". Again: " s "."
}

function calendar(	i) {
	if (chance(50)) {
		i = pick(n_day)
		return "After " day[1 + i] " comes " day[1 + (i + 1) % n_day] "."
	}
	i = pick(n_month)
	return "After " month[1 + i] " comes " month[1 + (i + 1) % n_month] "."
}

function short_form() {
	if (chance(50)) {
		when = a_day()
		return when " is written " substr(when, 1, 3) "."
	}
	what = a_thing()
	return "One " what ", two " plural(what) "."
}

BEGIN {
	pick_init(seed)
	for (line = 0; line < n; line++) {
		k = pick(20)
		if (k < 11) s = story()
		else if (k < 14) s = pair()
		else if (k < 15) s = sum() " " sum() " " sum()
		else if (k < 18) s = listed() (chance(50) ? "\n" listed() : "")
		else if (k < 19) s = calendar() " " short_form() " " calendar()
		else s = short_form() " " short_form() " " sum()
		print "{\"text\": " quoted(s) "}"
	}
}
