package mime

import (
	"fmt"
	"strings"
)

// SubjectPrefix tells how a subject starts: "Re", "Fwd" or "Fw" in just this
// spelling, or "". Only the first prefix counts ("RE: FW: x" is "Re"); counted
// forms such as "Re[2]:" count, words such as "Reply" do not, nor do the
// prefixes of other languages: [SubjectPrefixes] tells of these.
func SubjectPrefix(subject string) string { return SubjectPrefixes(nil).Prefix(subject) }

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

// SubjectPrefixes are words that start subjects besides Re, Fwd and Fw, with
// the one of these that each means, e.g. "AW": "Re". Upper and lower case are
// the same. It is safe for several goroutines as long as none changes it.
type SubjectPrefixes map[string]string

// Prefix is as [SubjectPrefix], and knows the words of p.
func (p SubjectPrefixes) Prefix(subject string) string {
	s := strings.TrimSpace(subject)
	for _, word := range [...]string{"Re", "Fwd", "Fw"} {
		if startsWithPrefix(s, word) {
			return word
		}
	}
	for word, means := range p {
		if startsWithPrefix(s, word) {
			return means
		}
	}
	return ""
}

// Check returns an error that names a word of p that can't be a prefix, or one
// that means none of Re, Fwd and Fw.
func (p SubjectPrefixes) Check() error {
	for word, means := range p {
		switch {
		case word == "" || strings.TrimSpace(word) != word || strings.ContainsAny(word, ":：[(^") || len(word) > maxPrefixWord:
			return fmt.Errorf("mime: %s is no word for a prefix", quoteShort(word))
		case means != "Re" && means != "Fwd" && means != "Fw":
			return fmt.Errorf("mime: %s means %s, which is not one of Re, Fwd, Fw", quoteShort(word), quoteShort(means))
		}
	}
	return nil
}

const maxPrefixWord = 32

// LocalSubjectPrefixes are the prefixes that common mail programs write in
// other languages. The map is the caller's.
func LocalSubjectPrefixes() SubjectPrefixes {
	p := SubjectPrefixes{}
	for _, w := range []string{
		"AW", "Antw", "SV", "VS", "Odp", "RIF", "YNT", "Ynt", "ATB", "Vá", "RES", "ΑΠ", "ΣΧΕΤ", "Отв", "Ответ",
		"回复", "答复", "回覆", "返信", "회신",
	} {
		p[w] = "Re"
	}
	for _, w := range []string{
		"WG", "Doorst", "VB", "VL", "VM", "PD", "TR", "RV", "ENC", "İLT", "Továbbítás", "ΠΡΘ", "Пересл",
		"转发", "轉寄", "転送", "전달",
	} {
		p[w] = "Fwd"
	}
	return p
}

// startsWithPrefix reports whether s starts with word and a colon, with a count
// between them perhaps. Asian mail programs write a wide colon.
func startsWithPrefix(s, word string) bool {
	if len(s) <= len(word) || !strings.EqualFold(s[:len(word)], word) {
		return false
	}
	r := s[len(word):]
	if i := strings.IndexByte("[(^", r[0]); i >= 0 { // Re[2]: Re(2): Re^2:
		r = strings.TrimLeft(r[1:], "0123456789")
		if i < 2 {
			r = strings.TrimPrefix(r, string("])"[i]))
		}
	}
	r = strings.TrimLeft(r, " ")
	return strings.HasPrefix(r, ":") || strings.HasPrefix(r, "：")
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
