package smtp

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/netx"
)

// Limits on what a server may say. RFC 5321 section 4.5.3.1.5 sets 512 octets
// a line; real servers exceed that with links in their refusals.
const (
	maxReplyLine  = 64 << 10
	maxReplyLines = 1000
	maxReplyBytes = 1 << 20
	// maxSessionBytes caps all replies of a session.
	maxSessionBytes = 64 << 20
)

// A reply is a complete answer of the server.
type reply struct {
	code     int
	enhanced string
	lines    []string

	challenge string // of 334, as it came
}

func (r *reply) ok() bool { return r.code/100 == 2 }

func (r *reply) error(stage, server string) *ReplyError {
	return &ReplyError{Stage: stage, Server: server, Code: r.code, Enhanced: r.enhanced, Lines: r.lines}
}

// readReply reads a reply, all lines of which must arrive by the deadline.
// Every line must have the same code (RFC 5321 section 4.2.1). Its errors are
// final for the connection. Texts come without the secrets, which some servers
// repeat (A30): only what a mechanism is to answer is kept as it came.
func readReply(c *netx.Conn, deadline time.Time, secrets ...string) (*reply, error) {
	r := &reply{}
	total := 0
	for {
		line, err := c.ReadLineBy(deadline, maxReplyLine)
		if err != nil {
			return nil, err
		}
		code, more, text, err := parseReplyLine(line)
		switch {
		case err != nil:
			if len(secrets) > 0 {
				err = fmt.Errorf("not a reply: %s", netx.Quote(netx.Scrub(string(line), secrets)))
			}
		case r.lines != nil && code != r.code:
			err = fmt.Errorf("a reply of codes %d and %d", r.code, code)
		case len(r.lines) == maxReplyLines:
			err = fmt.Errorf("a reply of more than %d lines: %w", maxReplyLines, driver.ErrLimit)
		case total+len(text) > maxReplyBytes:
			err = fmt.Errorf("a reply of more than %d bytes: %w", maxReplyBytes, driver.ErrLimit)
		}
		if err != nil {
			return nil, c.Fail("read", driver.KindProtocol, err)
		}
		total += len(text)
		r.code = code
		if code == 334 {
			r.challenge = text
		}
		r.lines = append(r.lines, netx.Scrub(text, secrets))
		if !more {
			r.takeEnhanced()
			return r, nil
		}
	}
}

func parseReplyLine(line []byte) (code int, more bool, text string, err error) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || !digit(line[1]) || !digit(line[2]) {
		return 0, false, "", fmt.Errorf("not a reply: %s", netx.Quote(clip(line)))
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	if len(line) == 3 {
		return code, false, "", nil
	}
	switch line[3] {
	case ' ':
	case '-':
		more = true
	default:
		return 0, false, "", fmt.Errorf("not a reply: %s", netx.Quote(clip(line)))
	}
	return code, more, string(line[4:]), nil
}

func clip(b []byte) string { return string(b[:min(len(b), 2*netx.MaxQuoted)]) }

func digit(b byte) bool { return b >= '0' && b <= '9' }

// takeEnhanced moves the enhanced status code (RFC 2034 section 4) from the
// text, where each line may repeat it, to its field.
func (r *reply) takeEnhanced() {
	for i, line := range r.lines {
		word, rest, _ := strings.Cut(line, " ")
		if !isEnhanced(word) || int(word[0]-'0') != r.code/100 {
			continue
		}
		if r.enhanced == "" {
			r.enhanced = word
		}
		if word == r.enhanced {
			r.lines[i] = rest
		}
	}
}

// status gives the enhanced code even where its class is not that of the reply.
func (r *reply) status() string {
	if r.enhanced == "" && len(r.lines) > 0 {
		if word, _, _ := strings.Cut(r.lines[0], " "); isEnhanced(word) {
			return word
		}
	}
	return r.enhanced
}

// tooMany reports whether a recipient behind accepted ones was refused because
// of their number alone. That is 452, or 552 of old, and so that 552 is as
// temporary there (RFC 5321 section 4.5.3.1.10); but both also say that there
// is no room, which their enhanced code then tells.
func (r *reply) tooMany() bool {
	status := r.status()
	switch r.code {
	case 452:
		return status == "" || status[1:] == tooMany
	case 552:
		return status != "" && status[1:] == tooMany
	}
	return false
}

// isEnhanced tells class.subject.detail (RFC 3463 section 2).
func isEnhanced(s string) bool {
	if len(s) < 5 || (s[0] != '2' && s[0] != '4' && s[0] != '5') || s[1] != '.' {
		return false
	}
	subject, detail, ok := strings.Cut(s[2:], ".")
	return ok && number(subject) && number(detail)
}

func number(s string) bool {
	for i := range len(s) {
		if !digit(s[i]) {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 3
}

var errUnsolicited = errors.New("the server spoke out of turn")
