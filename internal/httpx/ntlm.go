package httpx

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"

	"github.com/maildriver/maildriver/internal/httpauth"
	"github.com/maildriver/maildriver/internal/ntlm"
	"github.com/maildriver/maildriver/internal/tlsbind"
)

// maxHandshakes is how often one exchange may log in on a connection: again
// only if the connection was lost meanwhile, or the server forgot the login.
const maxHandshakes = 2

// An ntlmLogin authenticates the connection of a lane ([MS-NTHT]), not a
// request: three messages, all on that connection, which then stays logged in.
type ntlmLogin struct {
	l      *lane
	scheme string // "NTLM" or "Negotiate"

	state  int
	client *ntlm.Client
	type2  []byte
	on     *conn // where the handshake runs
	rounds int
}

const (
	ntlmIdle     = iota // nothing sent: the connection may be logged in
	ntlmBegin           // the first message is due
	ntlmProposed        // the first was sent
	ntlmAnswer          // the third is due
	ntlmProved          // the third was sent
)

func (n *ntlmLogin) header(_ context.Context, _ *http.Request) (string, bool, error) {
	if n.state == ntlmIdle && !n.l.loggedIn() {
		n.state = ntlmBegin
	}
	switch n.state {
	case ntlmBegin:
		if n.rounds++; n.rounds > maxHandshakes {
			return "", false, errors.New("the connection was lost during each login")
		}
		n.client, n.type2, n.on = n.newClient(), nil, nil
		n.state = ntlmProposed
		return n.value(n.client.Negotiate()), true, nil
	case ntlmAnswer:
		n.client.ChannelBinding = nil
		if n.on != nil {
			n.client.ChannelBinding = tlsbind.EndPoint(n.on.tls)
		}
		msg, err := n.client.Authenticate(n.type2)
		if err != nil {
			return "", false, err
		}
		n.state = ntlmProved
		return n.value(msg), false, nil
	}
	return "", false, nil
}

func (n *ntlmLogin) newClient() *ntlm.Client {
	net := &n.l.c.net
	spn := net.SPN
	if spn == "" {
		spn = "HTTP/" + n.l.c.Host()
	}
	return &ntlm.Client{User: net.User, Domain: net.Domain, Password: net.Password.Reveal(), Workstation: net.Workstation, SPN: spn}
}

func (n *ntlmLogin) value(msg []byte) string {
	return n.scheme + " " + base64.StdEncoding.EncodeToString(msg)
}

func (n *ntlmLogin) challenged(t *try, offered []httpauth.Challenge) (bool, error) {
	ch, ok := httpauth.Find(offered, n.scheme)
	if !ok {
		return false, &SchemeError{Allowed: []string{n.scheme}, Offered: schemesOf(offered)}
	}
	token, err := answerToken(ch)
	if err != nil {
		return false, err
	}
	switch n.state {
	case ntlmIdle: // the login of the connection is over
		n.l.authed = 0
		n.state = ntlmBegin
		return true, nil
	case ntlmProposed:
		if len(token) == 0 {
			return false, errors.New("the server does not answer the first NTLM message")
		}
		n.type2, n.on, n.state = token, t.conn, ntlmAnswer
		return true, nil
	case ntlmProved:
		n.l.authed = 0
		if t.conn != n.on && len(token) == 0 {
			n.state = ntlmBegin // it went to a connection that never saw the first message
			return true, nil
		}
	}
	return false, nil
}

func (n *ntlmLogin) settled(t *try, _ *http.Response) error {
	if n.state == ntlmProved && t.conn != nil && t.conn == n.on {
		n.l.authed = t.conn.id
	}
	return nil
}

func schemesOf(offered []httpauth.Challenge) (list []string) {
	for _, ch := range offered {
		list = append(list, ch.Scheme)
	}
	return list
}
