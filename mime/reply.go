package mime

import "strings"

// SubjectPrefix tells how a subject starts: "Re", "Fwd" or "Fw" in just this
// spelling, or "". Only the first prefix counts ("RE: FW: x" is "Re"); counted
// forms such as "Re[2]:" count, words such as "Reply" do not, nor do the
// prefixes of other languages.
func SubjectPrefix(subject string) string {
	p, _ := cutPrefix(subject)
	return p
}

// cutPrefix gives the canonical prefix and what follows it.
func cutPrefix(subject string) (prefix, rest string) {
	s := strings.TrimSpace(subject)
	for _, p := range []string{"Re", "Fwd", "Fw"} {
		if len(s) <= len(p) || !strings.EqualFold(s[:len(p)], p) {
			continue
		}
		r := s[len(p):]
		if i := strings.IndexByte("[(^", r[0]); i >= 0 { // Re[2]: Re(2): Re^2:
			r = strings.TrimLeft(r[1:], "0123456789")
			if i < 2 {
				r = strings.TrimPrefix(r, string("])"[i]))
			}
		}
		r = strings.TrimLeft(r, " ")
		if after, ok := strings.CutPrefix(r, ":"); ok {
			return p, strings.TrimSpace(after)
		}
	}
	return "", s
}

// ReplySubject makes the subject of an answer: "Re: " before it, unless it
// starts so already.
func ReplySubject(subject string) string {
	s := strings.TrimSpace(cleanText(subject))
	if SubjectPrefix(s) == "Re" {
		return s
	}
	return strings.TrimSpace("Re: " + s)
}

// ForwardSubject makes the subject of a forwarded message: "Fwd: " before it,
// unless it starts with Fwd or Fw already.
func ForwardSubject(subject string) string {
	s := strings.TrimSpace(cleanText(subject))
	if p := SubjectPrefix(s); p == "Fwd" || p == "Fw" {
		return s
	}
	return strings.TrimSpace("Fwd: " + s)
}

// QuoteText puts "> " before every line, as answers quote (RFC 3676 4.5: ">"
// alone before a line that is a quote already). Line ends become "\n".
func QuoteText(s string) string {
	if s == "" {
		return ""
	}
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
	s = strings.TrimSuffix(s, "\n")
	var b strings.Builder
	b.Grow(len(s) + len(s)/16 + 8)
	for line := range strings.SplitSeq(s, "\n") {
		b.WriteByte('>')
		if line != "" && line[0] != '>' {
			b.WriteByte(' ')
		}
		b.WriteString(line)
		b.WriteByte('\n')
	}
	return b.String()
}
