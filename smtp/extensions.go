package smtp

import (
	"strconv"
	"strings"
)

// extensions is what a server offered in its answer to EHLO. It is read anew
// after TLS (RFC 3207 section 4.2): what was said before is forgotten.
type extensions struct {
	esmtp    bool // EHLO was understood
	keywords map[string]string
	auth     []string // mechanisms, upper case
	maxSize  int64    // of SIZE; 0 is no limit known
}

// has reports whether keyword, in upper case, was offered.
func (e *extensions) has(keyword string) bool {
	_, ok := e.keywords[keyword]
	return ok
}

// parseExtensions reads the lines of the reply to EHLO; the first is the
// server's name. Keywords are compared without regard to case (RFC 5321
// section 2.4), and "AUTH=LOGIN", the form before RFC 2554, is understood.
func parseExtensions(lines []string) extensions {
	e := extensions{esmtp: true, keywords: make(map[string]string, len(lines))}
	for _, line := range lines[min(1, len(lines)):] {
		keyword, args, _ := strings.Cut(strings.TrimSpace(line), " ")
		keyword = strings.ToUpper(keyword)
		if first, ok := strings.CutPrefix(keyword, "AUTH="); ok {
			keyword, args = "AUTH", first+" "+args
		}
		args = strings.TrimSpace(args)
		if keyword == "" {
			continue
		}
		if keyword == "AUTH" {
			e.auth = append(e.auth, strings.Fields(strings.ToUpper(args))...)
		}
		e.keywords[keyword] = args
	}
	if n, err := strconv.ParseInt(e.keywords["SIZE"], 10, 64); err == nil && n > 0 {
		e.maxSize = n
	}
	return e
}
