package sasl

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	gosasl "github.com/emersion/go-sasl"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/ntlm"
	"github.com/maildriver/maildriver/internal/tlsbind"
)

// Login logs in with a mechanism that [Choose] picked among offered, unless it is
// one of the protocol's own. maxArgs is as for [Exchange].
//
// A refused access token is tried once more if the source has another one. ctx
// bounds what is asked elsewhere: tokens and tickets; the conversation has its
// own limits.
func Login(ctx context.Context, name string, offered []string, p *Peer, conv Conversation, maxArgs int) error {
	n := p.Network
	if secret := n.Password.Reveal(); secret != "" {
		hide(conv, secret, "\x00"+n.User+"\x00"+secret)
	}
	if n.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, n.Timeout)
		defer cancel()
	}
	_, custom := n.Custom[name]
	if !custom && (name == "OAUTHBEARER" || name == "XOAUTH2") {
		return p.withToken(ctx, name, conv, maxArgs)
	}
	c, err := p.client(ctx, name, offered)
	if err != nil {
		return err
	}
	if closer, ok := c.(interface{ Close() error }); ok {
		defer func() { _ = closer.Close() }()
	}
	if name == "NTLM" && p.Service == "pop" {
		maxArgs = 0 // MS-POP3 section 2.2 has no initial response
	}
	err = Exchange(c, conv, maxArgs)
	if s, ok := c.(*scram); ok && err != nil && s.unbound && s.bindTo(tlsbind.TypeEndPoint, tlsbind.EndPointHash(p.TLS)) {
		// Nothing was given away: servers that do not know the newer binding may
		// know the older one.
		return Exchange(s, conv, maxArgs)
	}
	return err
}

func hide(conv Conversation, secrets ...string) {
	for _, s := range secrets {
		conv.Hide(s)
		conv.Hide(base64.StdEncoding.EncodeToString([]byte(s)))
	}
}

// client makes the client half. Tokens are not its business.
func (p *Peer) client(ctx context.Context, name string, offered []string) (Client, error) {
	n := p.Network
	if make := n.Custom[name]; make != nil {
		return &custom{name: name, m: make()}, nil
	}
	switch name {
	case "EXTERNAL":
		return gosasl.NewExternalClient(n.User), nil
	case "PLAIN":
		return gosasl.NewPlainClient("", n.User, n.Password.Reveal()), nil
	case "LOGIN":
		return &login{user: n.User, password: n.Password}, nil
	case "CRAM-MD5":
		return &cramMD5{user: n.User, password: n.Password}, nil
	case "DIGEST-MD5":
		return &digestMD5{user: n.User, password: n.Password, realm: n.Domain, service: p.Service, host: p.Host}, nil
	case "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS":
		return p.scram(name, offered), nil
	case "NTLM":
		return &ntlmClient{ntlm.Client{
			User: n.User, Domain: n.Domain, Password: n.Password.Reveal(), Workstation: n.Workstation,
			SPN: p.ntlmSPN(), ChannelBinding: tlsbind.EndPoint(p.TLS),
		}}, nil
	case "GSSAPI":
		service, host := p.Service, p.Host
		if s, h, ok := strings.Cut(n.SPN, "/"); ok {
			service, host = s, h
		}
		// RFC 4752 section 3.1: no channel bindings.
		sc, err := n.Negotiator.Start(ctx, service, host, nil)
		if err != nil {
			return nil, authError(kindOr(err, driver.KindAuth), fmt.Errorf("GSSAPI: %w", err))
		}
		return &gssapi{context: sc, authzid: n.User}, nil
	}
	return nil, authError(driver.KindConfig, &driver.MechanismError{Wanted: []string{name}, Unknown: []string{name}})
}

// ntlmSPN is the name under which servers of Microsoft know the service.
func (p *Peer) ntlmSPN() string {
	if p.Network.SPN != "" {
		return p.Network.SPN
	}
	service := p.Service
	if service == "smtp" {
		service = "SMTPSVC"
	}
	return service + "/" + p.Host
}

// withToken logs in with a token, and once more with a new one where the first
// is refused: it may have been taken back before its time.
func (p *Peer) withToken(ctx context.Context, name string, conv Conversation, maxArgs int) error {
	store := p.Network.Tokens
	token, err := store.Token(ctx)
	if err != nil {
		return authError(kindOr(err, driver.KindAuth), fmt.Errorf("%s: %w", name, err))
	}
	for again := false; ; again = true {
		text := token.Value.Reveal()
		c := &bearer{name: name, user: p.Network.User, host: p.Host, port: p.Port, token: text}
		hide(conv, text)
		err := Exchange(c, conv, maxArgs)
		if err == nil || !refused(err) {
			return err
		}
		store.Refused(token)
		if !again {
			if next, e := store.Token(ctx); e == nil && next.Value.Reveal() != text {
				token = next
				continue
			}
		}
		return authError(driver.KindAuth, &driver.TokenError{Mechanism: name, Status: c.status, Scope: c.scope, Err: err})
	}
}

// refused tells a server's refusal of the credentials from all else.
func refused(err error) bool {
	k := driver.KindOf(err)
	return k == driver.KindAuth || k == driver.KindPermanent
}

// kindOr is the kind of an error, temporary for a context that ended, or else
// the given one.
func kindOr(err error, k driver.Kind) driver.Kind {
	if de, ok := errors.AsType[*driver.Error](err); ok && de.Kind != driver.KindUnknown {
		return de.Kind
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return driver.KindTemporary
	}
	return k
}

// custom is a mechanism of the host.
type custom struct {
	name string
	m    driver.Mechanism
}

func (c *custom) Start() (string, []byte, error) {
	ir, err := c.m.Start()
	return c.name, ir, err
}

func (c *custom) Next(challenge []byte) ([]byte, error) { return c.m.Next(challenge) }
