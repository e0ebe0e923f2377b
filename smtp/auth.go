package smtp

import (
	"context"
	"time"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/sasl"
)

// maxAuthArgs is what fits behind "AUTH " in a command line of 512 octets (RFC
// 4954 section 4).
const maxAuthArgs = 512 - len("AUTH ") - len("\r\n")

// saslService is the GSS-API name of SMTP (RFC 4954 section 4).
const saslService = "smtp"

// login authenticates if the host gave credentials (RFC 4954). A refusal ends
// the session and leaves the message deferred: whether to try again is the
// caller's business, the message is not at fault.
func (s *session) login(ctx context.Context) error {
	if !sasl.Wanted(s.net) {
		return nil
	}
	state, secure := s.c.TLS()
	peer := sasl.NewPeer(s.net, saslService, s.c.Addr(), state, secure)
	mech, err := sasl.Choose(s.ext.auth, peer)
	if err != nil {
		return failed(StageAUTH, err)
	}
	err = sasl.Login(ctx, mech, s.ext.auth, peer, &authConversation{s: s}, maxAuthArgs)
	if err == nil {
		return nil
	}
	f := failed(StageAUTH, err)
	f.delivery = driver.DeliveryDeferred
	return f
}

// authConversation is AUTH as the shared exchange sees it.
type authConversation struct{ s *session }

func (a *authConversation) Start(args string) error { return a.s.send("AUTH " + args) }
func (a *authConversation) Send(line string) error  { return a.s.send(line) }
func (a *authConversation) Hide(secret string) {
	a.s.secrets = append(a.s.secrets, secret) // to its end: a server may repeat it in any later reply
	a.s.c.Hide(secret)
}

// Receive takes 334 for a challenge and 235 for success; nothing else is
// success, not even another 2yz.
func (a *authConversation) Receive() ([]byte, bool, error) {
	r, err := a.s.receive(time.Now().Add(a.s.commandTimeout()))
	switch {
	case err != nil:
		return nil, false, err
	case r.code == 334 && len(r.lines) == 1:
		return []byte(r.challenge), true, nil
	case r.code == 235:
		return nil, false, nil
	}
	kind := driver.KindTemporary
	if r.code/100 == 5 {
		kind = driver.KindAuth
	}
	return nil, false, &driver.Error{Op: StageAUTH, Driver: driverName, Addr: a.s.c.Addr(), Kind: kind, Err: r.error(StageAUTH, a.s.c.Addr())}
}
