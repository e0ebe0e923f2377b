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
	tls      bool     // this was said inside TLS
	verified bool     // by a server whose certificate or key was verified
	limits   limits
}

// limits is what LIMITS says (RFC 9422); 0 is no limit.
type limits struct{ mails, recipients, domains int }

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
	e.limits = parseLimits(e.keywords["LIMITS"])
	if n, err := strconv.ParseInt(e.keywords["SIZE"], 10, 64); err == nil && n > 0 {
		e.maxSize = n
	}
	return e
}

// parseLimits reads "MAILMAX=10 RCPTMAX=50". What is not known, or no positive
// number, counts as not said (RFC 9422 section 3).
func parseLimits(args string) (l limits) {
	for word := range strings.FieldsSeq(strings.ToUpper(args)) {
		name, text, _ := strings.Cut(word, "=")
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			continue
		}
		switch name {
		case "MAILMAX":
			l.mails = n
		case "RCPTMAX":
			l.recipients = n
		case "RCPTDOMAINMAX":
			l.domains = n
		}
	}
	return l
}
