package mime

import "strings"

// encodeQP writes text with "\n" line ends as quoted-printable with CRLF
// (RFC 2045 6.7), lines of at most 76 characters. "From " and "." at the start
// of a line are encoded too: mbox files and SMTP change those.
func encodeQP(text string) []byte {
	const hex = "0123456789ABCDEF"
	out := make([]byte, 0, len(text)+len(text)/8+16)
	col := 0
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '\n' {
			out = append(out, '\r', '\n')
			col = 0
			continue
		}
		last := i+1 == len(text) || text[i+1] == '\n'
		room := base64Lines
		if !last {
			room-- // for the "=" of a soft line break
		}
		plain := c > ' ' && c <= '~' && c != '=' || (c == ' ' || c == '\t') && !last
		size := 1
		if !plain {
			size = 3
		}
		if col+size > room {
			out = append(out, '=', '\r', '\n')
			col = 0
		}
		if col == 0 && (c == '.' || c == 'F' && strings.HasPrefix(text[i:], "From ")) {
			plain = false
		}
		if plain {
			out = append(out, c)
			col++
		} else {
			out = append(out, '=', hex[c>>4], hex[c&15])
			col += 3
		}
	}
	return out
}
