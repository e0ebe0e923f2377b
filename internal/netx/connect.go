package netx

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/httpauth"
	"github.com/maildriver/maildriver/internal/ntlm"
	"github.com/maildriver/maildriver/internal/tlsbind"
)

// Limits of what an HTTP proxy may say.
const (
	maxProxyHead = 64 << 10 // bytes of a header
	maxProxyBody = 16 << 10 // of the page that comes with a refusal, if the connection is to be kept
	// maxProxyTries is how many requests a connection may take: one without
	// login, two for NTLM, one for a new nonce.
	maxProxyTries = 5
)

// A connecting is the dialogue with an HTTP proxy (RFC 9110 section 9.3.6). It
// may take several connections: some proxies close theirs with a refusal.
type connecting struct {
	*hop
	nc     net.Conn
	target string

	mech     string // that the login uses, "" before one is known
	answered bool   // the login was sent whole
	fresh    bool   // a new nonce was answered
	digest   *httpauth.Digest
	ntlm     *ntlm.Client
	auth     string // for the next request
}

func (h *hop) connect(ctx context.Context) (net.Conn, error) {
	port, err := h.portBytes()
	if err != nil {
		return nil, err
	}
	c := &connecting{hop: h, target: net.JoinHostPort(h.host, fmt.Sprint(int(port[0])<<8|int(port[1])))}
	if h.user != "" && len(h.mechs) == 1 && h.mechs[0] == driver.ProxyBasic {
		// Nothing else would be answered, so it need not be asked for.
		if err := c.basic(); err != nil {
			return nil, err
		}
	}
	for range maxProxyTries {
		if c.nc == nil {
			if c.nc, err = h.reach(ctx); err != nil {
				return nil, err
			}
		}
		done, keep := false, false
		err := within(ctx, c.nc, func() (err error) {
			done, keep, err = c.try()
			return err
		})
		switch {
		case err != nil:
			_ = c.nc.Close()
			return nil, err
		case done:
			return c.nc, nil
		case !keep && c.ntlm != nil && c.answered:
			_ = c.nc.Close()
			return nil, h.fail("login", driver.KindProtocol, errors.New("the proxy closed the connection within an NTLM login"))
		case !keep:
			_ = c.nc.Close()
			c.nc = nil
		}
	}
	if c.nc != nil {
		_ = c.nc.Close()
	}
	return nil, h.fail("login", driver.KindProtocol, fmt.Errorf("the proxy asks for a login again and again: %w", driver.ErrLimit))
}

// try sends one request. done means that the connection is the server's from
// here; keep, that another request may be sent on it.
func (c *connecting) try() (done, keep bool, err error) {
	c.note("CONNECT %s at %v proxy %s, login %s", c.target, c.kind, c.addr, orNone(c.mech))
	var b strings.Builder
	b.WriteString("CONNECT " + c.target + " HTTP/1.1\r\nHost: " + c.target + "\r\n")
	if c.auth != "" {
		b.WriteString("Proxy-Authorization: " + c.auth + "\r\n")
	}
	b.WriteString("\r\n")
	if _, err := io.WriteString(c.nc, b.String()); err != nil {
		return false, false, c.broken("request", err)
	}
	resp, err := c.response()
	if err != nil {
		return false, false, err
	}
	switch {
	case resp.StatusCode/100 == 2:
		// A length or body announced with it counts for nothing: the tunnel
		// begins behind the header (RFC 9110 section 9.3.6).
		return true, false, nil
	case resp.StatusCode == http.StatusUnauthorized && c.answered: // tinyproxy's way of 407
		return false, false, c.failCode("login", driver.KindAuth, resp.StatusCode, errRefused)
	case resp.StatusCode != http.StatusProxyAuthRequired:
		return false, false, c.failCode("request", driver.KindTemporary, resp.StatusCode, fmt.Errorf("the proxy answers %s", c.quote(resp.Status)))
	}
	keep = !resp.Close && !strings.EqualFold(resp.Header.Get("Proxy-Connection"), "close")
	// A page without a known end ends with the connection.
	if keep = keep && resp.ContentLength <= maxProxyBody && (resp.ContentLength >= 0 || len(resp.TransferEncoding) > 0); keep {
		n, err := io.Copy(io.Discard, io.LimitReader(resp.Body, maxProxyBody+1))
		if isTimeout(err) {
			return false, false, c.broken("request", err)
		}
		keep = err == nil && n <= maxProxyBody
	}
	return false, keep, c.answer(resp)
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// response reads a header byte by byte: what follows it belongs to the server
// (A28).
func (c *connecting) response() (*http.Response, error) {
	limited := &io.LimitedReader{R: single{c.nc}, N: maxProxyHead}
	for range maxProxyTries {
		resp, err := http.ReadResponse(bufio.NewReader(limited), &http.Request{Method: http.MethodConnect})
		switch {
		case err != nil && limited.N <= 0:
			return nil, c.fail("request", driver.KindProtocol, fmt.Errorf("the proxy's header is longer than %d bytes: %w", maxProxyHead, driver.ErrLimit))
		case err != nil && isNetwork(err):
			return nil, c.broken("request", err)
		case err != nil:
			return nil, c.fail("request", driver.KindProtocol, fmt.Errorf("the proxy's answer is not HTTP: %s", c.quote(err.Error())))
		case resp.StatusCode == http.StatusSwitchingProtocols:
			return nil, c.failCode("request", driver.KindProtocol, resp.StatusCode, errors.New("the proxy switches protocols unasked"))
		case resp.StatusCode/100 == 1: // an interim answer
			continue
		}
		limited.N = maxProxyHead + maxProxyBody // the body has its own limit
		return resp, nil
	}
	return nil, c.fail("request", driver.KindProtocol, fmt.Errorf("too many interim answers: %w", driver.ErrLimit))
}

func isNetwork(err error) bool {
	_, ok := errors.AsType[net.Error](err)
	return ok || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// single reads one byte at a time, so that no buffer over it takes more than it
// uses.
type single struct{ r io.Reader }

func (s single) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return s.r.Read(p[:1])
}

// answer makes the login for the next request, or the error that there is none.
func (c *connecting) answer(resp *http.Response) error {
	refuse := func(k driver.Kind, err error) error {
		return c.failCode("login", k, resp.StatusCode, err)
	}
	list, perr := httpauth.Parse(resp.Header.Values("Proxy-Authenticate"))
	if c.user == "" {
		return refuse(driver.KindAuth, fmt.Errorf("the proxy wants a login (%s): driver.WithProxyLogin", c.schemes(list)))
	}
	if len(list) == 0 {
		if perr == nil {
			perr = errors.New("the proxy wants a login and does not say which")
		}
		return refuse(driver.KindProtocol, perr)
	}
	if c.mech == driver.ProxyNTLM && !c.answered {
		return c.authenticate(list, refuse)
	}
	if _, offered := httpauth.Find(list, c.mech); c.answered && offered {
		stale, ok := httpauth.Best(list)
		if c.mech != driver.ProxyDigest || !ok || !stale.Stale() || c.fresh {
			return refuse(driver.KindAuth, errRefused)
		}
		c.fresh = true
	}
	order := c.mechs
	if len(order) == 0 {
		order = []string{driver.ProxyDigest, driver.ProxyBasic}
	}
	for _, mech := range order {
		// A way that was refused by not being offered again is over.
		if _, ok := httpauth.Find(list, mech); !ok || c.answered && mech != c.mech {
			continue
		}
		switch mech {
		case driver.ProxyBasic:
			return c.basic()
		case driver.ProxyNTLM:
			return c.negotiate()
		case driver.ProxyDigest:
			challenge, ok := httpauth.Best(list)
			if !ok {
				continue
			}
			if c.digest == nil {
				c.digest = &httpauth.Digest{Username: c.user, Password: c.password}
			}
			auth, err := c.digest.Authorize(http.MethodConnect, c.target, challenge)
			if err != nil {
				return refuse(driver.KindProtocol, err)
			}
			c.mech, c.auth, c.answered = mech, auth, true
			return nil
		}
	}
	hint := ""
	if _, ok := httpauth.Find(list, driver.ProxyNTLM); ok && !slices.Contains(order, driver.ProxyNTLM) {
		hint = "; NTLM must be permitted: driver.WithProxyMechanisms"
	}
	return refuse(driver.KindAuth, fmt.Errorf("the proxy offers %s, none of %s%s", c.schemes(list), strings.Join(order, ", "), hint))
}

func (c *connecting) basic() error {
	auth, err := httpauth.Basic(c.user, c.password)
	if err != nil {
		return c.fail("login", driver.KindConfig, err)
	}
	c.mech, c.auth, c.answered = driver.ProxyBasic, auth, true
	return nil
}

// negotiate begins an NTLM login, bound to the proxy's certificate and name
// (A22).
func (c *connecting) negotiate() error {
	host, _, _ := net.SplitHostPort(c.addr)
	c.ntlm = &ntlm.Client{User: c.user, Password: c.password, SPN: "HTTP/" + host}
	if t, ok := c.nc.(*tls.Conn); ok {
		state := t.ConnectionState()
		c.ntlm.ChannelBinding = tlsbind.EndPoint(&state)
	}
	c.mech, c.auth, c.answered = driver.ProxyNTLM, "NTLM "+base64.StdEncoding.EncodeToString(c.ntlm.Negotiate()), false
	return nil
}

func (c *connecting) authenticate(list []httpauth.Challenge, refuse func(driver.Kind, error) error) error {
	challenge, ok := httpauth.Find(list, driver.ProxyNTLM)
	if !ok || challenge.Token == "" {
		return refuse(driver.KindAuth, errRefused)
	}
	token, err := base64.StdEncoding.DecodeString(challenge.Token)
	if err != nil {
		return refuse(driver.KindProtocol, errors.New("the proxy's NTLM challenge is not base64"))
	}
	answer, err := c.ntlm.Authenticate(token)
	if err != nil {
		return refuse(driver.KindAuth, err)
	}
	c.auth, c.answered = "NTLM "+base64.StdEncoding.EncodeToString(answer), true
	return nil
}

// schemes lists what a proxy offers, for an error.
func (c *connecting) schemes(list []httpauth.Challenge) string {
	var names []string
	for _, ch := range list {
		if !slices.Contains(names, ch.Scheme) {
			names = append(names, ch.Scheme)
		}
	}
	if len(names) == 0 {
		return "nothing known"
	}
	return c.quote(strings.Join(names, ", "))
}

// quote is [Quote] without what was said to the proxy: some repeat it in what
// they answer (A30).
func (c *connecting) quote(text string) string {
	secrets := []string{c.auth}
	if _, token, ok := strings.Cut(c.auth, " "); ok {
		secrets = append(secrets, token)
	}
	secrets = append(secrets, forms(c.user+":"+c.password)...)
	secrets = append(secrets, c.password)
	secrets = append(secrets, forms(c.password)...)
	if len(c.user) >= minSecret {
		secrets = append(secrets, c.user)
	}
	return Quote(Scrub(text, secrets))
}
