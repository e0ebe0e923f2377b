package netx

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxQuoted is how much of a peer's text an error or log shows, in bytes.
const MaxQuoted = 256

// Quote makes text of a peer fit for errors and logs: quoted, with control
// characters, invalid UTF-8 and invisible marks escaped, and shortened to
// [MaxQuoted] bytes before that.
func Quote(s string) string {
	if len(s) <= MaxQuoted {
		return strconv.QuoteToGraphic(s)
	}
	cut := MaxQuoted
	for cut > MaxQuoted-utf8.UTFMax && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return strconv.QuoteToGraphic(s[:cut]) + "..."
}

// Scrub takes secrets out of a text that a server sent: some repeat what they were given. A short secret would tear words
// apart and be told by the holes, so the whole text goes.
func Scrub(text string, secrets []string) string {
	for _, secret := range secrets {
		if secret == "" || !strings.Contains(text, secret) {
			continue
		}
		if len(secret) < 4 {
			return "(a text that repeats a secret)"
		}
		text = strings.ReplaceAll(text, secret, "[secret]")
	}
	return text
}
