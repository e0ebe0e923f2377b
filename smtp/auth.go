package smtp

import (
	"slices"
	"time"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/sasl"
)

// maxAuthArgs is what fits behind "AUTH " in a command line of 512 octets (RFC
// 4954 section 4).
const maxAuthArgs = 512 - len("AUTH ") - len("\r\n")

// login authenticates if the host gave credentials (RFC 4954). A refusal ends
// the session and leaves the message deferred: whether to try again is the
// caller's business, the message is not at fault.
func (s *session) login() error {
	if s.net.User == "" && !slices.Contains(s.net.Mechanisms, "EXTERNAL") {
		return nil
	}
	_, tls := s.c.TLS()
	client, err := sasl.Choose(s.ext.auth, s.net, tls)
	if err != nil {
		return failed(StageAUTH, err)
	}
	err = sasl.Exchange(client, (*authConversation)(s), maxAuthArgs)
	if err == nil {
		return nil
	}
	f := failed(StageAUTH, err)
	f.delivery = driver.DeliveryDeferred
	if f.kind == driver.KindPermanent {
		f.kind = driver.KindAuth
	}
	return f
}

// authConversation is AUTH as the shared exchange sees it.
type authConversation session

func (a *authConversation) Start(args string) error { return (*session)(a).send("AUTH " + args) }
func (a *authConversation) Send(line string) error  { return (*session)(a).send(line) }

// Receive takes 334 for a challenge and 235 for success; nothing else is
// success, not even another 2yz.
func (a *authConversation) Receive() ([]byte, bool, error) {
	s := (*session)(a)
	r, err := s.receive(time.Now().Add(s.commandTimeout()))
	switch {
	case err != nil:
		return nil, false, err
	case r.code == 334 && len(r.lines) == 1:
		return []byte(r.lines[0]), true, nil
	case r.code == 235:
		return nil, false, nil
	}
	return nil, false, r.error(StageAUTH, s.c.Addr())
}
