package gssapi

import (
	"errors"
	"fmt"
	"time"

	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/iana/chksumtype"
	"github.com/jcmturner/gokrb5/v8/iana/flags"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/maildriver/maildriver/driver"
)

// secContext is one context; see driver.SecurityContext.
type secContext struct {
	c       *Client
	t       *ticket
	name    string
	spnego  bool
	binding []byte

	state   state
	stamp   time.Time // of our authenticator, which the server must repeat
	key     types.EncryptionKey
	flag    byte // acceptorSubkey if key is that
	sent    uint64
	got     uint64
	request []byte // the list of mechanisms, for SPNEGO's own check
}

type state uint8

const (
	stateNew state = iota
	stateSent
	stateMIC // Kerberos is done, SPNEGO is not
	stateDone
	stateClosed
)

func newContext(c *Client, t *ticket, name string, spnego bool, binding []byte) *secContext {
	s := &secContext{c: c, t: t, name: name, spnego: spnego}
	if binding != nil {
		s.binding = append([]byte{}, binding...)
	}
	return s
}

// Format keeps the keys out of every verb of fmt.
func (s *secContext) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "[Kerberos context with %s]", s.name)
}

func (s *secContext) fail(kind driver.Kind, err error) error {
	return fail(kind, StepContext, s.name, err)
}

func (s *secContext) Step(in []byte) (out []byte, done bool, err error) {
	switch s.state {
	case stateNew:
		if len(in) > 0 {
			return nil, false, s.fail(driver.KindProtocol, errors.New("the server spoke first"))
		}
		out, err = guard(s.first)
		if err != nil {
			return nil, false, s.fail(driver.KindLocal, err)
		}
		s.state = stateSent
		return out, false, nil
	case stateSent, stateMIC:
		if s.spnego {
			out, err = guard(func() ([]byte, error) { return s.answerSPNEGO(in) })
		} else {
			_, err = guard(func() ([]byte, error) { return nil, s.answer(in) })
		}
		if err != nil {
			s.state = stateClosed
			return nil, false, s.explain(err)
		}
		return out, s.state == stateDone, nil
	}
	return nil, false, s.fail(driver.KindProtocol, errors.New("the context is done"))
}

// explain gives an error of the exchange its kind. The next context gets a
// fresh ticket.
func (s *secContext) explain(err error) error {
	s.c.forget(s.t)
	if _, ok := errors.AsType[*driver.Error](err); ok {
		return err
	}
	if errors.Is(err, errRefused) {
		return s.fail(driver.KindAuth, err)
	}
	return s.fail(driver.KindAuth, fmt.Errorf("%w: %w", ErrServer, err))
}

// first makes the AP-REQ (RFC 4120 section 3.2.2, RFC 4121 section 4.1).
func (s *secContext) first() ([]byte, error) {
	auth, err := types.NewAuthenticator(s.t.crealm, s.t.cname)
	if err != nil {
		return nil, err
	}
	et, err := aes(s.t.key.KeyType)
	if err != nil {
		return nil, err
	}
	// A key of our own keeps a recorded exchange from being good for another
	// connection (RFC 4120 section 3.2.6).
	if err := auth.GenerateSeqNumberAndSubKey(s.t.key.KeyType, et.GetKeyByteSize()); err != nil {
		return nil, err
	}
	s.stamp = s.c.stamp()
	auth.CTime, auth.Cusec = s.stamp, s.stamp.Nanosecond()/1000
	auth.Cksum = types.Checksum{CksumType: chksumtype.GSSAPI, Checksum: checksum(s.binding)}
	req, err := messages.NewAPReq(s.t.ticket, s.t.key, auth)
	if err != nil {
		return nil, err
	}
	types.SetFlag(&req.APOptions, flags.APOptionMutualRequired)
	b, err := req.Marshal()
	if err != nil {
		return nil, err
	}
	s.key, s.sent = auth.SubKey, uint64(auth.SeqNumber) //nolint:gosec // not negative
	token, err := frame(oidKerberos, append([]byte(tokAPReq), b...))
	if err != nil || !s.spnego {
		return token, err
	}
	return s.firstSPNEGO(token)
}

// answer checks the server's AP-REP (RFC 4120 section 3.2.5).
func (s *secContext) answer(token []byte) error {
	oid, body, err := unframe(token)
	if err != nil {
		return err
	}
	if !oid.Equal(oidKerberos) && !oid.Equal(oidMSKerberos) || len(body) < 2 {
		return errToken
	}
	kind, body := string(body[:2]), body[2:]
	if kind == tokError {
		if k := asError(body); k != nil {
			return kdcError(StepContext, s.name, k)
		}
	}
	if kind != tokAPRep {
		return errToken
	}
	var rep messages.APRep
	if err := rep.Unmarshal(body); err != nil {
		return errToken
	}
	plain, err := crypto.DecryptEncPart(rep.EncPart, s.t.key, keyusage.AP_REP_ENCPART)
	if err != nil {
		return errors.New("its answer is not made with the key of the ticket")
	}
	var enc messages.EncAPRepPart
	if err := enc.Unmarshal(plain); err != nil {
		return errToken
	}
	if enc.CTime.Unix() != s.stamp.Unix() || enc.Cusec != s.stamp.Nanosecond()/1000 {
		return errors.New("its answer is to another request")
	}
	if len(enc.Subkey.KeyValue) > 0 {
		if _, err := aes(enc.Subkey.KeyType); err != nil {
			return err
		}
		s.key, s.flag = enc.Subkey, acceptorSubkey
	}
	s.got = uint64(uint32(enc.SequenceNumber)) //nolint:gosec // 32 bits, which some encode as signed
	s.state = stateDone
	return nil
}

func (s *secContext) Wrap(message []byte) ([]byte, error) {
	if s.state != stateDone {
		return nil, fail(driver.KindProtocol, StepWrap, s.name, errors.New("the context is not done"))
	}
	b, err := wrapToken(s.key, usageOurs, s.flag, s.sent, message)
	if err != nil {
		return nil, fail(driver.KindLocal, StepWrap, s.name, err)
	}
	s.sent++
	return b, nil
}

func (s *secContext) Unwrap(token []byte) ([]byte, error) {
	if s.state != stateDone {
		return nil, fail(driver.KindProtocol, StepWrap, s.name, errors.New("the context is not done"))
	}
	b, err := unwrapToken(s.key, usageTheirs, s.flag|fromAcceptor, s.got, token)
	if err != nil {
		return nil, fail(driver.KindProtocol, StepWrap, s.name, err)
	}
	s.got++
	return b, nil
}

// Close forgets the keys. A context that was not done lets go of its ticket,
// too: servers refuse one they can't read without saying why.
func (s *secContext) Close() error {
	if s.state == stateSent || s.state == stateMIC {
		s.c.forget(s.t)
	}
	s.state = stateClosed
	clear(s.key.KeyValue)
	s.key, s.t = types.EncryptionKey{}, nil
	return nil
}
