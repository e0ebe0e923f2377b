package gssapi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/iana/errorcode"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/iana/nametype"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/maildriver/maildriver/driver"
)

// maxReferrals bounds the realms on the way to a service.
const maxReferrals = 8

// ticketFor gives a ticket for a service, from memory if it is good for a
// while. realm is the service's, "" if not known.
func (c *Client) ticketFor(ctx context.Context, name, realm string) (*ticket, error) {
	id := name + "@" + realm
	if t := c.held(id); t.good(c.now()) {
		return t, nil // not held up by those who ask for others
	}
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return nil, contextError(ctx, StepService, name)
	}
	if t := c.held(id); t.good(c.now()) {
		return t, nil // somebody else got it meanwhile
	}
	t, err := c.fetch(ctx, name, realm)
	if err != nil {
		return nil, err
	}
	c.keep(id, t)
	return t, nil
}

// maxTickets bounds the tickets in memory. A client that sees more services
// than that asks for some again.
const maxTickets = 256

func (c *Client) held(id string) *ticket {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tickets[id]
}

func (c *Client) keep(id string, t *ticket) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for old, o := range c.tickets {
		if len(c.tickets) >= maxTickets || !o.good(c.now()) {
			delete(c.tickets, old)
		}
	}
	c.tickets[id] = t
}

// forget drops a ticket that a server did not take: its key may have changed.
func (c *Client) forget(t *ticket) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, o := range c.tickets {
		if o == t {
			delete(c.tickets, id)
		}
	}
}

// fetch asks the KDCs for the service's ticket. A ticket-granting ticket out of
// memory that they no longer take is replaced, once.
func (c *Client) fetch(ctx context.Context, name, realm string) (*ticket, error) {
	sname := types.NewPrincipalName(nametype.KRB_NT_SRV_HST, name)
	if c.cred.kind == fromCache {
		if t, err := c.cached(sname, realm); t != nil || err != nil {
			return t, err
		}
	}
	for {
		before := c.held(krbtgt)
		tgt, err := c.tgt(ctx)
		if err != nil {
			return nil, err
		}
		t, err := c.walk(ctx, tgt, sname, realm)
		if err == nil || !stale(err) {
			return t, err
		}
		c.forget(tgt)
		if tgt != before {
			return nil, err
		}
	}
}

// stale reports whether the KDC can do nothing with the ticket it was shown:
// its key has changed, or the account has.
func stale(err error) bool {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return false
	}
	switch e.Code {
	case errorcode.KDC_ERR_TGT_REVOKED, errorcode.KRB_AP_ERR_BAD_INTEGRITY, errorcode.KRB_AP_ERR_TKT_EXPIRED,
		errorcode.KRB_AP_ERR_MODIFIED, errorcode.KRB_AP_ERR_BADKEYVER, errorcode.KRB_AP_ERR_NOKEY:
		return true
	}
	return false
}

// walk asks the KDC of the client's realm and those it refers to (RFC 4120
// section 3.3, RFC 6806 section 8).
func (c *Client) walk(ctx context.Context, tgt *ticket, sname types.PrincipalName, realm string) (*ticket, error) {
	name := sname.PrincipalNameString()
	at := tgt.name.NameString[1] // the realm whose KDC takes the ticket
	for range maxReferrals {
		want := sname
		if realm != "" && realm != at {
			want = tgtName(realm)
		}
		t, err := c.askTGS(ctx, StepService, tgt, at, want, false)
		if err != nil {
			return nil, err
		}
		if t.name.NameString[0] != krbtgt {
			return t, nil
		}
		if len(t.name.NameString) != 2 || t.name.NameString[1] == at {
			return nil, failf(driver.KindProtocol, StepService, name, "the KDC refers to itself")
		}
		tgt, at = t, t.name.NameString[1]
		if want.NameString[0] != krbtgt {
			realm = at // a referral for the service itself
		}
	}
	return nil, fail(driver.KindProtocol, StepService, name, fmt.Errorf("more than %d referrals: %w", maxReferrals, driver.ErrLimit))
}

// tgt gives the ticket-granting ticket of the client's own realm.
func (c *Client) tgt(ctx context.Context) (*ticket, error) {
	t := c.held(krbtgt)
	if t.good(c.now()) {
		return t, nil
	}
	var err error
	if c.cred.kind == fromCache {
		t, err = c.cachedTGT(ctx)
	} else {
		t, err = c.login(ctx)
	}
	if err != nil {
		return nil, err
	}
	c.keep(krbtgt, t)
	return t, nil
}

// cachedTGT reads the cache, which somebody may have renewed, and renews a
// ticket that has ended or is about to, if it may be.
func (c *Client) cachedTGT(ctx context.Context) (*ticket, error) {
	t, err := c.cached(types.PrincipalName{}, "")
	now := c.now()
	path, _ := c.cred.cachePath()
	switch {
	case err != nil:
		return nil, err
	case t == nil:
		return nil, failf(driver.KindAuth, StepCredentials, path, "the cache holds no ticket-granting ticket; run kinit")
	case t.good(now):
		return t, nil
	case !now.Before(t.end):
		return nil, fail(driver.KindAuth, StepCredentials, path, fmt.Errorf("%w at %s; run kinit", ErrExpired, t.end.UTC().Format(time.RFC3339)))
	case t.renew.IsZero() || !now.Before(t.renew):
		return t, nil // its last minute
	}
	return c.askTGS(ctx, StepRenew, t, t.realm, t.name, true)
}

// askTGS gets a ticket for want with tgt from a KDC of the realm at.
func (c *Client) askTGS(ctx context.Context, step string, tgt *ticket, at string, want types.PrincipalName, renew bool) (*ticket, error) {
	name := want.PrincipalNameString() + "@" + at
	conf := *c.conf
	conf.LibDefaults.Canonicalize = true // RFC 6806 section 8: else no referrals
	req, err := messages.NewTGSReq(tgt.cname, at, &conf, tgt.ticket, tgt.key, want, renew)
	if err != nil {
		return nil, fail(driver.KindLocal, step, name, err)
	}
	b, err := req.Marshal()
	if err != nil {
		return nil, fail(driver.KindLocal, step, name, err)
	}
	answer, err := c.exchange(ctx, step, at, b)
	if err != nil {
		return nil, err
	}
	if k := asError(answer); k != nil {
		return nil, kdcError(step, name, k)
	}
	t, err := guard(func() (*ticket, error) { return c.readTGS(answer, &req, tgt) })
	if err != nil {
		return nil, asStep(step, name, err)
	}
	return t, nil
}

// readTGS checks the KDC's answer (RFC 4120 section 3.3.4).
func (c *Client) readTGS(answer []byte, req *messages.TGSReq, tgt *ticket) (*ticket, error) {
	var rep messages.TGSRep
	if err := rep.Unmarshal(answer); err != nil {
		return nil, errMalformed
	}
	plain, err := guard(func() ([]byte, error) {
		return crypto.DecryptEncPart(rep.EncPart, tgt.key, keyusage.TGS_REP_ENCPART_SESSION_KEY)
	})
	if err != nil {
		return nil, errors.New("the answer is not from the KDC")
	}
	enc := new(messages.EncKDCRepPart)
	if err := enc.Unmarshal(plain); err != nil || len(enc.SName.NameString) == 0 {
		return nil, errMalformed
	}
	switch {
	case !rep.CName.Equal(tgt.cname) || rep.CRealm != tgt.crealm:
		return nil, fmt.Errorf("the answer is for %s", quote(rep.CName.PrincipalNameString()+"@"+rep.CRealm))
	case !rep.Ticket.SName.Equal(enc.SName) || rep.Ticket.Realm != enc.SRealm:
		return nil, errors.New("the ticket is not the one the KDC signed for")
	case !enc.SName.Equal(req.ReqBody.SName) && enc.SName.NameString[0] != krbtgt:
		return nil, fmt.Errorf("the KDC gave a ticket for %s", quote(enc.SName.PrincipalNameString()))
	}
	return c.newTicket(rep.CName, rep.CRealm, rep.Ticket, enc, req.ReqBody.Nonce, req.ReqBody.EType)
}
