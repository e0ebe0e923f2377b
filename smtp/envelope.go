package smtp

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/maildriver/maildriver/driver"
)

const (
	maxEnvID = 100 // RFC 3461 section 4.4
	maxOrcpt = 500 // RFC 3461 section 4.2
)

// An envelope is a message's envelope, checked and encoded. Every string in it
// can go into a command as it is.
type envelope struct {
	from  string // without brackets, "" for the null path
	to    []forwardPath
	envID string // xtext, "" for none
	ret   string
	dsn   bool // something of RFC 3461 is asked for
}

type forwardPath struct {
	path   string
	notify string // "SUCCESS,FAILURE", "" for none
	orcpt  string // "rfc822;" and xtext, "" for none
}

// newEnvelope checks everything of m that goes into commands and reports all
// that is wrong with it, each as an [*ArgumentError].
func newEnvelope(m *driver.Message, notify []string) (*envelope, error) {
	e := &envelope{to: make([]forwardPath, 0, len(m.To))}
	var errs []error
	take := func(what, value string, encode func(string) (string, error)) string {
		out, err := encode(value)
		if err != nil {
			errs = append(errs, &ArgumentError{what, value, err})
		}
		return out
	}
	if m.From != "" {
		e.from = take("sender", m.From, encodePath)
	}
	if len(m.To) == 0 {
		errs = append(errs, errors.New("the message has no recipients"))
	}
	if m.Open == nil {
		errs = append(errs, errors.New("the message has no Open"))
	}
	e.envID = take("ENVID", m.EnvelopeID, encodeEnvID)
	e.ret = take("RET", m.Return, encodeReturn)
	for _, r := range m.To {
		set := r.Notify
		if set == nil {
			set = notify
		}
		f := forwardPath{
			path:  take("recipient", r.Address, encodePath),
			orcpt: take("ORCPT", r.Original, encodeOrcpt),
		}
		f.notify = take("NOTIFY", strings.Join(set, ","), encodeNotify)
		e.dsn = e.dsn || f.notify != "" || f.orcpt != ""
		e.to = append(e.to, f)
	}
	e.dsn = e.dsn || e.envID != "" || e.ret != ""
	return e, errors.Join(errs...)
}

// wantsEnvID reports whether an ENVID should be made of the message's id:
// notifications are asked for, and come back with something to know them by.
func (e *envelope) wantsEnvID() bool {
	return e.envID == "" && slices.ContainsFunc(e.to, func(f forwardPath) bool { return f.notify != "" && f.notify != "NEVER" })
}

// mail gives the command MAIL.
func (e *envelope) mail(x *extensions, c *content) string {
	var b strings.Builder
	b.WriteString("MAIL FROM:<" + e.from + ">")
	if x.has("SIZE") {
		fmt.Fprintf(&b, " SIZE=%d", c.size)
	}
	if c.eightBit && x.has("8BITMIME") {
		b.WriteString(" BODY=8BITMIME")
	}
	if x.has("DSN") {
		if e.ret != "" {
			b.WriteString(" RET=" + e.ret)
		}
		if e.envID != "" {
			b.WriteString(" ENVID=" + e.envID)
		}
	}
	return b.String()
}

// rcpt gives the command RCPT for one recipient.
func (f *forwardPath) rcpt(x *extensions) string {
	s := "RCPT TO:<" + f.path + ">"
	if x.has("DSN") {
		if f.notify != "" {
			s += " NOTIFY=" + f.notify
		}
		if f.orcpt != "" {
			s += " ORCPT=" + f.orcpt
		}
	}
	return s
}

// xtext encodes printable ASCII and spaces (RFC 3461 section 4).
func xtext(s string) (string, error) {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c > '~':
			return "", fmt.Errorf("byte %d is not printable ASCII", i)
		case c == ' ' || c == '+' || c == '=':
			fmt.Fprintf(&b, "+%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}

func encodeEnvID(s string) (string, error) {
	x, err := xtext(s)
	if err == nil && len(x) > maxEnvID {
		return "", fmt.Errorf("%d bytes in xtext, limit %d", len(x), maxEnvID)
	}
	return x, err
}

func encodeOrcpt(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	kind, addr, ok := strings.Cut(s, ";")
	if !ok || kind == "" || addr == "" || strings.ContainsFunc(kind, func(r rune) bool { return r > '~' || !isAtext(byte(r)) }) {
		return "", errors.New(`not of the form "rfc822;address"`)
	}
	x, err := xtext(addr)
	if err == nil && len(kind)+1+len(x) > maxOrcpt {
		return "", fmt.Errorf("%d bytes in xtext, limit %d", len(kind)+1+len(x), maxOrcpt)
	}
	return kind + ";" + x, err
}

func encodeReturn(s string) (string, error) {
	switch up := strings.ToUpper(s); up {
	case "", "FULL", "HDRS":
		return up, nil
	}
	return "", errors.New("not one of FULL, HDRS")
}

// encodeNotify checks a list as RFC 3461 section 4.1 has it: NEVER alone, or
// each of the others once at most.
func encodeNotify(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	var set []string
	for word := range strings.SplitSeq(strings.ToUpper(s), ",") {
		switch word {
		case "NEVER", "SUCCESS", "FAILURE", "DELAY":
		default:
			return "", errors.New("not NEVER, or of SUCCESS, FAILURE, DELAY")
		}
		if !slices.Contains(set, word) {
			set = append(set, word)
		}
	}
	if len(set) > 1 && slices.Contains(set, "NEVER") {
		return "", errors.New("NEVER stands alone")
	}
	return strings.Join(set, ","), nil
}
