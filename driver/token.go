package driver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// A Token is an OAuth2 access token.
type Token struct {
	Value Secret
	// Expiry is when the token ends; zero means that it is not known.
	Expiry time.Time
}

// A TokenSource fetches a new access token, from an authorisation server as a
// rule. It is called when a token is needed and the last one has ended, is
// about to end, or was refused, by one goroutine at a time; it keeps no tokens
// itself. It must return when ctx ends. contrib/oauth2 makes sources.
type TokenSource func(ctx context.Context) (Token, error)

// TokenMargin is how long before its expiry a token is replaced, or a quarter
// of its life if that is shorter.
const TokenMargin = time.Minute

// maxToken bounds the bytes of a token; those in use have some thousand.
const maxToken = 32 << 10

// ErrNoToken is in the error when no token could be got.
var ErrNoToken = errors.New("no access token")

// A TokenStore holds the last token of a source. It asks the source once for
// any number of callers that wait. It is safe for many goroutines at once and
// starts none.
type TokenStore struct {
	source TokenSource
	turn   chan struct{} // holds one item: who has it may ask the source

	mu      sync.Mutex // never held while the source is asked
	token   Token
	renew   time.Time // when to replace the token; zero: when it is refused
	answers int       // of the source
	failed  error     // its last answer; nil: a token
}

// NewTokenStore makes a store around a source.
func NewTokenStore(source TokenSource) *TokenStore {
	t := &TokenStore{source: source, turn: make(chan struct{}, 1)}
	t.turn <- struct{}{}
	return t
}

// Token gives a token that is good for a while, from memory if possible. When
// the source fails while the last token still lives, that one is given. The
// error wraps [ErrNoToken] and what the source said; all callers that waited for
// one question get its one answer.
func (t *TokenStore) Token(ctx context.Context) (Token, error) {
	token, answers, _ := t.held()
	if !token.Value.IsZero() {
		return token, nil
	}
	select {
	case <-t.turn:
	case <-ctx.Done():
		return Token{}, fmt.Errorf("%w: %w", ErrNoToken, context.Cause(ctx))
	}
	defer func() { t.turn <- struct{}{} }()
	token, now, failed := t.held()
	if !token.Value.IsZero() {
		return token, nil
	}
	if failed != nil && now != answers {
		return Token{}, failed
	}
	token, err := t.source(ctx)
	if err == nil {
		token.Value, err = token.Value.Resolve(ctx)
	}
	return t.keep(ctx, token, err)
}

// held gives the token if it need not be replaced yet.
func (t *TokenStore) held() (token Token, answers int, failed error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.renew.IsZero() || time.Now().Before(t.renew) {
		token = t.token
	}
	return token, t.answers, t.failed
}

// keep takes an answer of the source.
func (t *TokenStore) keep(ctx context.Context, token Token, err error) (Token, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answers++
	now := time.Now()
	if err == nil {
		err = token.check(now)
	}
	switch {
	case err == nil:
		t.token, t.renew, t.failed = token, time.Time{}, nil
		if !token.Expiry.IsZero() {
			t.renew = token.Expiry.Add(-min(TokenMargin, token.Expiry.Sub(now)/4))
		}
		return token, nil
	case !t.token.Value.IsZero() && now.Before(t.token.Expiry):
		t.renew = now.Add(t.token.Expiry.Sub(now) / 4)
		return t.token, nil
	}
	t.token, t.renew, t.failed = Token{}, time.Time{}, nil
	err = fmt.Errorf("%w: %w", ErrNoToken, err)
	if ctx.Err() == nil { // else it was this caller's impatience, and not the source
		t.failed = err
	}
	return Token{}, err
}

// Refused says that a server refused the token, so that the next call of Token
// gets another one. It reports whether that was news: false for a token that is
// no longer the one in the store.
func (t *TokenStore) Refused(token Token) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token.Value.IsZero() || t.token.Value.Reveal() != token.Value.Reveal() {
		return false
	}
	t.token, t.renew = Token{}, time.Time{}
	return true
}

// check finds tokens that cannot go into a header or a response (RFC 6750
// section 2.1 has the characters), and those that have ended.
func (t Token) check(now time.Time) error {
	text := t.Value.Reveal()
	switch {
	case text == "":
		return errors.New("the source gave an empty token")
	case len(text) > maxToken:
		return fmt.Errorf("the source gave a token of %d bytes, the limit is %d", len(text), maxToken)
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
		return errors.New("the source gave a token with spaces, control or non-ASCII characters")
	case !t.Expiry.IsZero() && !now.Before(t.Expiry):
		return fmt.Errorf("the source gave a token that ended at %s", t.Expiry.UTC().Format(time.RFC3339))
	}
	return nil
}
