package sasl

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/bidi"
	"golang.org/x/text/unicode/norm"
)

// errProhibited goes behind "the user name" or "the password".
var errProhibited = errors.New("holds a character that SCRAM does not permit (RFC 4013)")

// saslPrep prepares a name or password as RFC 4013 says, with today's Unicode.
// The PRECIS profiles that follow it (RFC 8265) are not what SCRAM names, and
// what servers have stored: they leave compatibility characters as they are.
// Code points that Unicode does not assign are permitted, as in a query (RFC 3454
// section 7).
func saslPrep(s string) (string, error) {
	ascii := true
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			ascii = false
			break
		}
	}
	if ascii {
		return s, nil
	}
	if !utf8.ValidString(s) {
		return "", errProhibited
	}
	s = norm.NFKC.String(strings.Map(mapPrep, s))
	rtl, ltr := false, false
	for _, r := range s {
		if prohibited(r) {
			return "", errProhibited
		}
		switch p, _ := bidi.LookupRune(r); p.Class() {
		case bidi.R, bidi.AL:
			rtl = true
		case bidi.L:
			ltr = true
		}
	}
	// RFC 3454 section 6.
	if rtl {
		first, _ := utf8.DecodeRuneInString(s)
		last, _ := utf8.DecodeLastRuneInString(s)
		if ltr || !isRTL(first) || !isRTL(last) {
			return "", errProhibited
		}
	}
	return s, nil
}

func isRTL(r rune) bool {
	p, _ := bidi.LookupRune(r)
	return p.Class() == bidi.R || p.Class() == bidi.AL
}

// mapPrep is the mapping of RFC 4013 section 2.1: other spaces become a space,
// and what is commonly mapped to nothing (RFC 3454 table B.1) goes.
func mapPrep(r rune) rune {
	switch {
	case r != ' ' && unicode.Is(unicode.Zs, r), r == 0x200b:
		return ' '
	case r == 0xad, r == 0x34f, r == 0x1806, r >= 0x180b && r <= 0x180d, r >= 0x200c && r <= 0x200d,
		r == 0x2060, r >= 0xfe00 && r <= 0xfe0f, r == 0xfeff:
		return -1
	}
	return r
}

// prohibited has the tables of RFC 4013 section 2.3.
func prohibited(r rune) bool {
	switch {
	case r != ' ' && unicode.Is(unicode.Zs, r), // C.1.2
		unicode.IsControl(r), // C.2.1, C.2.2
		r == 0x6dd, r == 0x70f, r == 0x180e, r >= 0x2028 && r <= 0x2029, r >= 0x2061 && r <= 0x2063,
		r >= 0x206a && r <= 0x206f, r >= 0xfff9 && r <= 0xfffc, r >= 0x1d173 && r <= 0x1d17a, // C.2.2
		unicode.Is(unicode.Co, r),                      // C.3
		r >= 0xfdd0 && r <= 0xfdef, r&0xfffe == 0xfffe, // C.4
		r == 0xfffd,                                                                  // C.6
		r >= 0x2ff0 && r <= 0x2ffb,                                                   // C.7
		r == 0x340, r == 0x341, r == 0x200e, r == 0x200f, r >= 0x202a && r <= 0x202e, // C.8
		r == 0xe0001, r >= 0xe0020 && r <= 0xe007f: // C.9
		return true
	}
	return false
}
