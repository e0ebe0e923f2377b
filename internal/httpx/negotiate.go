package httpx

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/httpauth"
	"github.com/maildriver/maildriver/internal/tlsbind"
)

// A negotiateLogin is RFC 4559 over the host's Negotiator. Most servers want a
// token with each request; one that says Persistent-Auth logs the connection
// in.
type negotiateLogin struct {
	l *lane

	sec  driver.SecurityContext
	on   *conn
	done bool   // the context is established
	out  []byte // what to send next
	legs int

	asked bool // a try without credentials opened a connection
}

// maxLegs bounds the tokens of one login.
const maxLegs = 4

func (n *negotiateLogin) header(ctx context.Context, _ *http.Request) (string, bool, error) {
	if n.sec == nil {
		if n.l.loggedIn() {
			return "", false, nil
		}
		if c := n.l.c; c.origin.Scheme == "https" && !n.asked && (n.l.conn == nil || n.l.conn.isClosed()) {
			// The context is bound to a connection: there must be one first.
			n.asked = true
			return "", true, nil
		}
		if err := n.start(ctx); err != nil {
			return "", false, err
		}
	}
	if len(n.out) == 0 {
		return "", false, errors.New("the Negotiator has nothing to send")
	}
	return "Negotiate " + base64.StdEncoding.EncodeToString(n.out), false, nil
}

func (n *negotiateLogin) start(ctx context.Context) error {
	c := n.l.c
	service, host := "HTTP", c.Host()
	if s, h, ok := strings.Cut(c.net.SPN, "/"); ok {
		service, host = s, h
	}
	var binding []byte
	if n.l.conn != nil && !n.l.conn.isClosed() {
		binding = tlsbind.EndPoint(n.l.conn.tls)
	}
	sec, err := c.net.Negotiator.Start(ctx, service, host, binding)
	if err != nil {
		return err
	}
	n.sec, n.on = sec, n.l.conn
	n.out, n.done, err = sec.Step(nil)
	if err != nil {
		n.close()
	}
	return err
}

func (n *negotiateLogin) close() {
	if n.sec != nil {
		_ = n.sec.Close()
		n.sec = nil
	}
}

func (n *negotiateLogin) challenged(t *try, offered []httpauth.Challenge) (bool, error) {
	ch, ok := httpauth.Find(offered, schemeNegotiate)
	if !ok {
		n.close()
		return false, &SchemeError{Allowed: []string{schemeNegotiate}, Offered: schemesOf(offered)}
	}
	token, err := answerToken(ch)
	if err != nil {
		n.close()
		return false, err
	}
	if n.sec == nil { // the login of the connection is over
		n.l.authed = 0
		return true, nil
	}
	if n.legs++; n.legs >= maxLegs || len(token) == 0 || n.done {
		n.close()
		return false, nil
	}
	if n.out, n.done, err = n.sec.Step(token); err != nil {
		n.close()
		return false, err
	}
	return len(n.out) > 0, nil
}

// settled lets the context check the server's proof. A server that gives none
// is believed on its verified TLS certificate alone, as RFC 4559 section 5
// allows; one that gives a wrong one, or half of one, is not.
func (n *negotiateLogin) settled(t *try, resp *http.Response) error {
	if n.sec == nil {
		return nil
	}
	defer n.close()
	offered, _ := httpauth.Parse(resp.Header.Values("WWW-Authenticate"))
	ch, ok := httpauth.Find(offered, schemeNegotiate)
	if ok && ch.Token != "" && !n.done {
		token, err := answerToken(ch)
		if err == nil {
			_, n.done, err = n.sec.Step(token)
		}
		if err != nil {
			return fmt.Errorf("the server's proof of itself is wrong: %w", err)
		}
	}
	if !n.done && (n.l.c.origin.Scheme != "https" || n.l.c.net.InsecureSkipVerify && len(n.l.c.net.Pins) == 0) {
		return errors.New("the server does not prove itself, and there is no verified TLS")
	}
	if strings.EqualFold(resp.Header.Get("Persistent-Auth"), "true") && t.conn != nil {
		n.l.authed = t.conn.id
	}
	return nil
}
