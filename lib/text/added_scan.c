/* SPDX-License-Identifier: MIT */
/*
 * added_scan.c - finds added tokens in a text.
 *
 * Matches are leftmost-longest and do not overlap, on the text as it is;
 * stripping comes afterwards, so a match inside white space that the one
 * before has swallowed still counts, and text goes on at the end of the last.
 */
#include "text/added.h"
#include "text/unicode.h"
#include "text/utf8.h"

void pt_added_scan_init(struct pt_added_scan *sc, const struct pt_added *a, bool normalized, bool plain,
			const char *s, size_t n)
{
	*sc = (struct pt_added_scan){ .a = a, .trie = &a->trie[normalized], .s = s, .n = n, .plain = plain };
}

static bool word_before(const char *s, size_t at)
{
	unsigned len;

	return at > 0 && pt_is_word(pt_utf8_before(s, at, &len));
}

static bool word_at(const char *s, size_t at, size_t n)
{
	unsigned len;

	return at < n && pt_is_word(pt_utf8_get(s + at, &len));
}

/* Find the next token that counts, with its white space, from sc->from on. */
static bool match(struct pt_added_scan *sc)
{
	const struct pt_trie *trie = sc->trie;

	for (;;) {
		const struct pt_added_token *t;
		size_t i = sc->from, len = 0;
		int32_t value = -1;
		unsigned k;

		for (; i < sc->n; i++) {
			if (!trie->root[(unsigned char)sc->s[i]])
				continue;
			value = pt_trie_longest(trie, sc->s + i, sc->n - i, &len);
			if (value >= 0)
				break;
		}
		if (value < 0)
			return false;
		sc->from = i + len;
		t = &sc->a->token[value];
		if (sc->plain && t->named_special)
			continue;
		sc->start = i;
		sc->stop = sc->from;
		if (t->single_word && (word_before(sc->s, sc->start) || word_at(sc->s, sc->stop, sc->n)))
			continue;
		if (t->lstrip) {
			while (sc->start > 0 && pt_is_white(pt_utf8_before(sc->s, sc->start, &k)))
				sc->start -= k;
			if (sc->start < sc->prev)
				sc->start = sc->prev;
		}
		if (t->rstrip)
			while (sc->stop < sc->n && pt_is_white(pt_utf8_get(sc->s + sc->stop, &k)))
				sc->stop += k;
		sc->token = t;
		return true;
	}
}

int pt_added_scan_next(struct pt_added_scan *sc, bool *more, size_t *from, size_t *to,
		       const struct pt_added_token **token, struct pt_error *err)
{
	*more = true;
	*token = NULL;
	while (sc->token || (sc->trie->nnode && match(sc))) {
		if (sc->start > sc->stop)
			return pt_error(err, PT_DATA,
					"added token \"%s\" lies in white space that another one has taken", sc->token->s);
		*from = sc->prev;
		*to = sc->start;
		if (sc->prev < sc->start) {	/* the token waits for the next call */
			sc->prev = sc->start;
			return 0;
		}
		*token = sc->token;
		*from = sc->start;
		*to = sc->prev = sc->stop;
		sc->token = NULL;
		if (sc->start < sc->stop)
			return 0;
		*token = NULL;
	}
	*from = sc->prev;
	*to = sc->n;
	*more = sc->prev < sc->n;
	sc->prev = sc->n;
	sc->from = sc->n;
	return 0;
}
