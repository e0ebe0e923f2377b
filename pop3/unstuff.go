package pop3

import "bytes"

// An unstuffer takes the dots out of a multi-line reply and finds its end (RFC
// 1939 section 3). Lines end in CRLF and in nothing else: a LF or CR alone is
// content, so that no mail can end its own reply. The zero value stands at
// the start of the first line.
type unstuffer struct{ at place }

type place uint8

const (
	atLine    place = iota // at the start of a line
	afterDot               // behind a dot that begins the line
	afterDotC              // behind a dot and a CR that begin the line
	inLine                 // anywhere else
	afterCR                // behind a CR that was copied
	atEnd                  // behind the terminator
)

var lineThenDot = []byte("\r\n.")

// next moves content from src to dst until one of them is used up or the end
// is found. It returns how many bytes it wrote and took.
func (u *unstuffer) next(dst, src []byte) (wrote, took int) {
	for took < len(src) && wrote < len(dst) {
		switch c := src[took]; u.at {
		case atEnd:
			return wrote, took
		case atLine:
			u.at = inLine
			if c == '.' {
				u.at = afterDot
				took++
			}
		case afterDot:
			u.at = inLine // whatever follows, the dot was stuffing
			if c == '\r' {
				u.at = afterDotC
				took++
			}
		case afterDotC:
			if c == '\n' {
				u.at = atEnd
				return wrote, took + 1
			}
			dst[wrote] = '\r'
			wrote++
			u.at = inLine
		case afterCR:
			u.at = inLine
			if c == '\n' {
				dst[wrote] = '\n'
				wrote, took = wrote+1, took+1
				u.at = atLine
			}
		case inLine:
			part := src[took:]
			part = part[:min(len(part), len(dst)-wrote)]
			switch i := bytes.Index(part, lineThenDot); {
			case i >= 0:
				part = part[:i+2]
				u.at = atLine
			case bytes.HasSuffix(part, lineThenDot[:2]):
				u.at = atLine
			case part[len(part)-1] == '\r':
				u.at = afterCR
			}
			wrote += copy(dst[wrote:], part)
			took += len(part)
		}
	}
	return wrote, took
}
