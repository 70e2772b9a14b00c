# SPDX-License-Identifier: MIT
# Words and random numbers for the texts of this folder, in POSIX awk. The
# generator is Park and Miller's (1988), exact in doubles: every awk gives the
# same text for the same seed.

function pick_init(seed) {
	state = (seed * 7919 + 104729) % 2147483647
	if (state < 1)
		state = 1
	for (i = 0; i < 16; i++)
		pick(2)
	n_first = split("Nora Emil Ida Oskar Lena Hugo Mira Anton Selma Viktor Clara Jonas Ella Felix Greta Simon Alma Peter Vera Lukas Rosa Paul Edith Max Dora Karl Agnes Tom Ruth Adam Helga Ben", first, " ")
	n_city = split("Oslo Bergen Turku Riga Gdansk Lund Malmo Aarhus Tampere Vilnius Kiel Bremen Ghent Lille Porto Braga Sofia Varna Split Graz Linz Basel Como Pisa Bari Cork Leeds York Derby Ayr", city, " ")
	n_thing = split("lamp chair table clock kettle basket blanket mirror bottle candle pillow ladder bucket hammer saddle violin camera helmet jacket button carpet curtain drawer fiddle hinge jar kite lantern mug needle oar plate quilt rope shovel tray umbrella vase wheel bench", thing, " ")
	n_colour = split("red blue green yellow white black brown grey pink purple orange silver", colour, " ")
	n_day = split("Monday Tuesday Wednesday Thursday Friday Saturday Sunday", day, " ")
	n_month = split("January February March April May June July August September October November December", month, " ")
	n_onset = split("b br d dr f g gr h k kl l m n p pr r s st t tr v", onset, " ")
	n_vowel = split("a e i o u", vowel, " ")
	n_coda = split("n l r s k m rn ld nd", coda, " ")
	n_end = split("a en ik or um is by ton wick feld by en", ending, " ")
	split("one two three four five six seven eight nine ten eleven twelve", numeral, " ")
}

# 0 .. n-1
function pick(n) {
	state = (state * 16807) % 2147483647
	return int(state / 2147483647 * n)
}

# True in p of 100 cases.
function chance(p) { return pick(100) < p }

function capital(s) { return toupper(substr(s, 1, 1)) substr(s, 2) }

# A word that nobody knows, so that it has to be copied: "Brendik".
function invented() {
	return capital(onset[1 + pick(n_onset)] vowel[1 + pick(n_vowel)] (chance(60) ? coda[1 + pick(n_coda)] : "") \
		(chance(30) ? onset[1 + pick(n_onset)] vowel[1 + pick(n_vowel)] : "") ending[1 + pick(n_end)])
}

function a_first() { return first[1 + pick(n_first)] }
function a_family() { return invented() }
function a_city() { return chance(50) ? city[1 + pick(n_city)] : invented() }
function a_thing() { return thing[1 + pick(n_thing)] }
function a_colour() { return colour[1 + pick(n_colour)] }
function a_day() { return day[1 + pick(n_day)] }
function a_month() { return month[1 + pick(n_month)] }
function a_number() { return chance(50) ? 2 + pick(18) : 2 + pick(97) }
function plural(s) { return s (s ~ /(s|x|ch|sh)$/ ? "es" : "s") }

# One record of the world, in globals of these names.
function scene() {
	who = a_first(); family = a_family(); where = a_city(); what = a_thing()
	shade = a_colour(); when = a_day(); count = a_number(); price = 3 + pick(96)
}

# s as a JSON string.
function quoted(s) {
	gsub(/\\/, "\\\\", s)
	gsub(/"/, "\\\"", s)
	gsub(/\n/, "\\n", s)
	return "\"" s "\""
}
