package oauth2

import (
	"context"
	"errors"
	"net/url"

	xoauth2 "golang.org/x/oauth2"

	"github.com/maildriver/maildriver/driver"
)

// ClientCredentials makes a source for a service that acts for itself, without
// a user (RFC 6749 section 4.4). The configuration needs Secret or Assertion.
// The source may be called by any number of goroutines.
func (c Config) ClientCredentials() (driver.TokenSource, error) {
	if err := c.check(true); err != nil {
		return nil, err
	}
	if c.Secret.IsZero() && c.Assertion == nil {
		return nil, configError(errors.New("client credentials need Secret or Assertion"))
	}
	return func(ctx context.Context) (driver.Token, error) {
		tok, err := c.ask(ctx, url.Values{})
		if err != nil {
			return driver.Token{}, err
		}
		return toDriver(tok), nil
	}, nil
}

// A StoreFunc keeps a refresh token for the next start of the program, in a
// place that only it can read (RFC 9700 section 4.14). The refresh tokens that
// were stored before are no longer good. The source that calls it waits for it.
type StoreFunc func(ctx context.Context, refresh driver.Secret) error

// RefreshToken makes a source from the refresh token that [Config.Device], or
// any other authorisation, gave (RFC 6749 section 6).
//
// A server may answer with a new refresh token and end the old one. It is given
// to store before the access token that came with it is used. While store
// fails, so does the source, without another request; the new refresh token is
// kept in memory and offered to store again at the next call. store may be nil
// for a server that never replaces refresh tokens; the source then goes on with
// the new one in memory.
//
// The source may be called by any number of goroutines; they wait for each
// other, so that no refresh token is used twice, which servers answer by ending
// the whole authorisation (RFC 9700 section 4.14.2).
func (c Config) RefreshToken(refresh driver.Secret, store StoreFunc) (driver.TokenSource, error) {
	if err := c.check(true); err != nil {
		return nil, err
	}
	if refresh.IsZero() {
		return nil, configError(errors.New("the refresh token is empty"))
	}
	r := &refresher{c: c, refresh: refresh, store: store, turn: make(chan struct{}, 1)}
	return r.token, nil
}

type refresher struct {
	c     Config
	store StoreFunc
	turn  chan struct{} // full while somebody uses what follows

	refresh driver.Secret
	pending *xoauth2.Token // came with refresh, which is not stored yet
}

func (r *refresher) token(ctx context.Context) (driver.Token, error) {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return driver.Token{}, explain(ctx, StepToken, ctx.Err(), nil)
	}
	if r.pending != nil {
		tok := r.pending
		if err := r.keep(ctx); err != nil {
			return driver.Token{}, err
		}
		if checkToken(tok) == nil { // else it ended while it waited
			return toDriver(tok), nil
		}
	}
	refresh, err := resolve(ctx, r.refresh)
	if err != nil {
		return driver.Token{}, err
	}
	tok, err := r.c.ask(ctx, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}})
	if err != nil {
		return driver.Token{}, err
	}
	if tok.RefreshToken != "" && tok.RefreshToken != refresh {
		r.refresh, r.pending = driver.NewSecret(tok.RefreshToken), tok
		if err := r.keep(ctx); err != nil {
			return driver.Token{}, err
		}
	}
	return toDriver(tok), nil
}

// keep has the host store the new refresh token. That the old one may be dead
// already is why nothing else happens before.
func (r *refresher) keep(ctx context.Context) error {
	if r.store != nil {
		if err := r.store(ctx, r.refresh); err != nil {
			return wrap(driver.KindLocal, &Error{Step: StepStore, Err: err})
		}
	}
	r.pending = nil
	return nil
}
