package sasl

import (
	"errors"
	"fmt"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/ntlm"
)

// gssapi is GSSAPI (RFC 4752) without a security layer: that is TLS's business.
type gssapi struct {
	context driver.SecurityContext
	authzid string

	established, chosen bool
}

// noLayer is the bit of the security layers that means none.
const noLayer = 1

func (g *gssapi) Start() (string, []byte, error) {
	out, err := g.step(nil)
	return "GSSAPI", out, err
}

func (g *gssapi) step(in []byte) ([]byte, error) {
	out, done, err := g.context.Step(in)
	if err != nil {
		return nil, fmt.Errorf("GSSAPI: %w", err)
	}
	g.established = done
	if out == nil {
		out = []byte{}
	}
	return out, nil
}

func (g *gssapi) Next(challenge []byte) ([]byte, error) {
	switch {
	case !g.established:
		return g.step(challenge)
	case g.chosen:
		return nil, errors.New("GSSAPI: a challenge after the security layer was chosen")
	}
	offer, err := g.context.Unwrap(challenge)
	if err != nil {
		return nil, fmt.Errorf("GSSAPI: security layers: %w", err)
	}
	if len(offer) != 4 {
		return nil, fmt.Errorf("GSSAPI: an offer of security layers of %d bytes, not 4", len(offer))
	}
	if offer[0]&noLayer == 0 {
		return nil, fmt.Errorf("GSSAPI: the server demands a security layer (offer %#02x); use TLS instead and have it permit none", offer[0])
	}
	answer, err := g.context.Wrap(append([]byte{noLayer, 0, 0, 0}, g.authzid...))
	if err != nil {
		return nil, fmt.Errorf("GSSAPI: security layers: %w", err)
	}
	g.chosen = true
	return answer, nil
}

// Complete fails before the server has proved itself and the layers are
// settled.
func (g *gssapi) Complete() error {
	if !g.established || !g.chosen {
		return driver.ErrServerProof
	}
	return nil
}

func (g *gssapi) Close() error { return g.context.Close() }

// ntlmClient is NTLM as SASL.
type ntlmClient struct{ c ntlm.Client }

func (n *ntlmClient) Start() (string, []byte, error) { return "NTLM", n.c.Negotiate(), nil }

func (n *ntlmClient) Next(challenge []byte) ([]byte, error) { return n.c.Authenticate(challenge) }
