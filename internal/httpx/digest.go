package httpx

import (
	"context"
	"net/http"

	"github.com/maildriver/maildriver/internal/httpauth"
)

// A digestState is what a client knows of the server's Digest: the challenge
// that its next requests answer without being asked. It is guarded by the
// client's mu.
type digestState struct {
	digest    *httpauth.Digest
	challenge httpauth.Challenge
	known     bool
}

// A digestLogin is RFC 7616.
type digestLogin struct {
	c      *Client
	used   httpauth.Challenge // that the last try answered
	sent   bool
	value  string // of the field that was sent last
	fresh  bool   // the challenge was given in this exchange
	rounds int
}

func digestUsable(offered []httpauth.Challenge) bool {
	_, ok := httpauth.Best(offered)
	return ok
}

func (d *digestLogin) header(_ context.Context, req *http.Request) (string, bool, error) {
	d.c.mu.Lock()
	s := &d.c.digest
	if s.digest == nil {
		s.digest = &httpauth.Digest{Username: d.c.net.User, Password: d.c.net.Password.Reveal()}
	}
	digest, challenge, known := s.digest, s.challenge, s.known
	d.c.mu.Unlock()
	if !known {
		return "", false, nil
	}
	d.used, d.sent = challenge, true
	var err error
	d.value, err = digest.Authorize(req.Method, req.URL.RequestURI(), challenge)
	return d.value, false, err
}

// offer notes the server's challenge for this try and those to come.
func (d *digestLogin) offer(offered []httpauth.Challenge) bool {
	ch, ok := httpauth.Best(offered)
	if !ok {
		return false
	}
	d.c.mu.Lock()
	d.c.digest.challenge, d.c.digest.known = ch, true
	d.c.mu.Unlock()
	d.fresh = true
	return true
}

// challenged answers a new nonce once: what was refused may have been the old
// one. A refusal of the server's own fresh nonce is one of the credentials,
// unless it says stale.
func (d *digestLogin) challenged(_ *try, offered []httpauth.Challenge) (bool, error) {
	ch, ok := httpauth.Best(offered)
	if !ok {
		return false, &SchemeError{Offered: schemesOf(offered), Allowed: []string{schemeDigest}}
	}
	d.rounds++
	if d.sent && (d.fresh && !ch.Stale() || d.rounds > 2 || ch.Params["nonce"] == d.used.Params["nonce"]) {
		return false, nil
	}
	return d.offer(offered), nil
}

// settled checks the server's proof of itself, where it gives one.
func (d *digestLogin) settled(_ *try, resp *http.Response) error {
	if d.value == "" {
		return nil
	}
	d.c.mu.Lock()
	digest := d.c.digest.digest
	d.c.mu.Unlock()
	return digest.Verify(d.value, resp.Header.Values("Authentication-Info"))
}
