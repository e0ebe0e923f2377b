package ews

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/ews/ewstest"
	"github.com/maildriver/maildriver/internal/sasl/sasltest"
)

// ntlmAuth is a server that authenticates connections, not requests.
type ntlmAuth struct {
	mu       sync.Mutex
	accounts []sasltest.Account
	leaf     []byte // of the server's certificate
	conns    map[string]*ntlmConn
	order    []string // of connections
}

type ntlmConn struct {
	server     sasltest.Server
	user       string
	handshakes int
	messages   int
	requests   int
}

func (a *ntlmAuth) check(r *http.Request) (user string, challenges []string, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.conns[r.RemoteAddr]
	if c == nil {
		c = &ntlmConn{}
		a.conns[r.RemoteAddr] = c
		a.order = append(a.order, r.RemoteAddr)
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if token == "" {
		if c.user != "" {
			c.requests++
			return c.user, nil, true
		}
		return "", []string{"Negotiate", "NTLM"}, false
	}
	message, err := base64.StdEncoding.DecodeString(token)
	if err != nil {
		return "", []string{"NTLM"}, false
	}
	c.messages++
	if len(message) > 8 && message[8] == 1 {
		c.handshakes++
		c.server, c.user = sasltest.New("NTLM", sasltest.Setting{Accounts: a.accounts, TLS: r.TLS, Leaf: a.leaf}), ""
	}
	if c.server == nil {
		return "", []string{"NTLM"}, false
	}
	challenge, done, user, err := c.server.Next(message)
	switch {
	case err != nil:
		c.server = nil
		return "", []string{"Negotiate", "NTLM"}, false
	case done:
		c.user = user
		c.requests++
		return user, nil, true
	}
	return "", []string{scheme + " " + base64.StdEncoding.EncodeToString(challenge)}, false
}

// E26: NTLM is three messages on one connection, and none after that; accounts
// never share a connection; a wrong password is tried once. The login is bound to
// the TLS of its connection (Extended Protection).
func TestE26NTLM(t *testing.T) {
	t.Parallel()
	auth := &ntlmAuth{conns: map[string]*ntlmConn{}, accounts: []sasltest.Account{{User: "desk", Password: ewstest.Password}, {User: "other", Password: "x"}}}
	srv := newServer(t, ewstest.WithAuth(auth.check), ewstest.WithAccount("desk", ""), ewstest.WithAccount("other", ""))
	auth.leaf = srv.Certificate().Raw
	raw, subjects := mails(20)
	srv.Add(raw...)
	d := newDriverAt(t, srv, srv.URL, driver.WithMechanisms("NTLM"), driver.WithLogin(`EXAMPLE\desk`, ewstest.Password), WithRequestSize(1))
	other := newDriverAt(t, srv, srv.URL, driver.WithMechanisms("NEGOTIATE", "NTLM"), driver.WithLogin("other", "x"))
	var h taker
	done := make(chan error, 1)
	go func() { _, err := other.Poll(t.Context(), new(taker)); done <- err }()
	poll(t, d, &h)
	require.NoError(t, <-done)
	assert.Equal(t, subjects, h.subjects)
	auth.mu.Lock()
	users := map[string]int{}
	for _, c := range auth.conns {
		assert.Equal(t, 1, c.handshakes)
		assert.Equal(t, 2, c.messages, "types 1 and 3")
		users[c.user] = c.requests
	}
	assert.Len(t, auth.conns, 2, "a connection for each account")
	assert.Len(t, users, 2)
	auth.conns = map[string]*ntlmConn{}
	auth.mu.Unlock()
	assert.GreaterOrEqual(t, len(srv.Operations("DeleteItem")), 20)

	_, err := newDriverAt(t, srv, srv.URL, driver.WithMechanisms("NTLM"), driver.WithLogin("desk", "hunter2")).Poll(t.Context(), &h)
	require.Error(t, err)
	assert.Equal(t, driver.KindAuth, driver.KindOf(err))
	assert.NotContains(t, fmt.Sprint(err), "hunter2")
	auth.mu.Lock()
	defer auth.mu.Unlock()
	tried := 0
	for _, c := range auth.conns {
		tried += c.handshakes
	}
	assert.Equal(t, 1, tried)
}

// E27: a token that is refused is asked for anew, once.
func TestE27Bearer(t *testing.T) {
	t.Parallel()
	srv := newServer(t, ewstest.WithToken("second"))
	srv.Add(mail("one"))
	var asked []string
	tokens := []string{"first", "second"}
	source := func(context.Context) (driver.Token, error) {
		token := tokens[min(len(asked), len(tokens)-1)]
		asked = append(asked, token)
		return driver.Token{Value: driver.NewSecret(token)}, nil
	}
	d := newDriver(t, srv, driver.WithMechanisms("BEARER"), driver.WithTokenSource(source))
	var h taker
	poll(t, d, &h)
	assert.Equal(t, []string{"one"}, h.subjects)
	assert.Equal(t, []string{"first", "second"}, asked)
	list := srv.Operations("FindItem")
	require.Len(t, list, 2)
	assert.Equal(t, "Bearer first", list[0].Header.Get("Authorization"))
	assert.Equal(t, "Bearer second", list[1].Header.Get("Authorization"))
	assert.Equal(t, list[0].Body, list[1].Body)
	assert.Equal(t, ewstest.User, list[1].Header.Get("X-Anchormailbox"))

	asked, tokens = nil, []string{"third", "fourth"}
	srv.ForgetRequests()
	_, err := newDriver(t, srv, driver.WithMechanisms("BEARER"), driver.WithTokenSource(source)).Poll(t.Context(), &h)
	require.Error(t, err)
	assert.Equal(t, driver.KindAuth, driver.KindOf(err))
	assert.NotContains(t, err.Error(), "fourth")
	assert.Equal(t, []string{"third", "fourth"}, asked)
	assert.Len(t, srv.Requests(), 2)
}

// A wrong password is tried once, with Basic, too.
func TestWrongPassword(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	_, err := newDriver(t, srv, driver.WithLogin(ewstest.User, "hunter2")).Poll(t.Context(), new(taker))
	require.Error(t, err)
	assert.Equal(t, driver.KindAuth, driver.KindOf(err))
	assert.NotContains(t, err.Error(), "hunter2")
	n := 0
	for _, r := range srv.Requests() {
		if r.Header.Get("Authorization") != "" {
			n++
		}
	}
	assert.Equal(t, 1, n)
}
