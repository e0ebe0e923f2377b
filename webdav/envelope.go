package webdav

import (
	"errors"
	"fmt"
	"net/mail"
	"strings"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/netx"
)

// An AddressError says that an address cannot be put into the envelope: it was
// refused before any byte was sent.
type AddressError struct {
	What  string // "sender" or "recipient"
	Value string // as given
	Err   error
}

func (e *AddressError) Error() string {
	return fmt.Sprintf("%s %s: %v", e.What, netx.Quote(e.Value), e.Err)
}
func (e *AddressError) Unwrap() error { return e.Err }

// maxAddress is more than RFC 5321 section 4.5.3.1 allows for a path.
const maxAddress = 512

// checkAddress refuses what could become a line of its own, or another
// address, in the envelope.
func checkAddress(what, addr string) error {
	bad := func(why string) error { return &AddressError{what, addr, errors.New(why)} }
	switch {
	case addr == "":
		return bad("it is empty")
	case len(addr) > maxAddress:
		return bad(fmt.Sprintf("longer than %d bytes", maxAddress))
	}
	for i := range len(addr) {
		switch c := addr[i]; {
		case c < ' ' || c == 0x7f:
			return bad("a control character")
		case c >= 0x80:
			return bad("beyond ASCII, which the server's envelope cannot carry")
		case c == '<' || c == '>':
			return bad("an angle bracket")
		}
	}
	a, err := mail.ParseAddress("<" + addr + ">")
	if err != nil || a.Name != "" || strings.LastIndexByte(addr, '@') < 1 {
		return bad("not of the form name@domain")
	}
	return nil
}

// checkEnvelope reports all that is wrong with a message's envelope.
func checkEnvelope(m *driver.Message) error {
	var errs []error
	if m.From != "" {
		errs = append(errs, checkAddress("sender", m.From))
	}
	if len(m.To) == 0 {
		errs = append(errs, errors.New("the message has no recipients"))
	}
	for _, r := range m.To {
		errs = append(errs, checkAddress("recipient", r.Address))
	}
	if m.Open == nil {
		errs = append(errs, errors.New("the message has no Open"))
	}
	// What a host asks for by name and the protocol has no word for.
	for _, x := range []struct {
		asked bool
		what  string
	}{
		{m.RequireTLS, "RequireTLS"}, {m.DeliverBy != nil, "DeliverBy"}, {m.Priority != 0, "Priority"}, {m.Binary, "Binary"},
	} {
		if x.asked {
			errs = append(errs, fmt.Errorf("%s: %w over WebDAV", x.what, errors.ErrUnsupported))
		}
	}
	return errors.Join(errs...)
}

// envelopeHead is what goes before the message in message/rfc821: the commands
// of SMTP without DATA, and an empty line.
func envelopeHead(m *driver.Message) string {
	var b strings.Builder
	b.WriteString("MAIL FROM:<" + m.From + ">\r\n")
	for _, r := range m.To {
		b.WriteString("RCPT TO:<" + r.Address + ">\r\n")
	}
	b.WriteString("\r\n")
	return b.String()
}
