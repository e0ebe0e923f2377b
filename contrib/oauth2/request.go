package oauth2

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	xoauth2 "golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/netx"
)

// ask sends one request to the token endpoint. form holds the grant.
func (c *Config) ask(ctx context.Context, form url.Values) (*xoauth2.Token, error) {
	own, err := resolve(ctx, c.Secret)
	if err != nil {
		return nil, err
	}
	secrets := []string{own, form.Get("refresh_token"), form.Get("device_code"), form.Get("assertion")}
	if err := c.assert(ctx, form, &secrets); err != nil {
		return nil, err
	}
	conf := clientcredentials.Config{
		ClientID:       c.ClientID,
		ClientSecret:   own,
		TokenURL:       c.TokenURL,
		Scopes:         c.Scopes,
		EndpointParams: form,
		AuthStyle:      xoauth2.AuthStyleInParams,
	}
	if c.SecretInHeader && own != "" {
		secrets = append(secrets, url.QueryEscape(c.ClientID)+":"+url.QueryEscape(own))
		conf.AuthStyle = xoauth2.AuthStyleInHeader
	}
	switch form.Get("grant_type") {
	case grantDevice, grantJWT:
		conf.Scopes = nil // the code, or the assertion, stands for them
	}
	tok, err := conf.Token(c.withClient(ctx))
	if err == nil {
		err = checkToken(tok)
	}
	if err != nil {
		return nil, explain(ctx, StepToken, err, secrets)
	}
	return tok, nil
}

// resolve gets a secret from its place.
func resolve(ctx context.Context, s driver.Secret) (string, error) {
	r, err := s.Resolve(ctx)
	if err != nil {
		return "", wrap(driver.KindConfig, &Error{Step: StepConfig, Err: err})
	}
	return r.Reveal(), nil
}

// assert adds the proof of the client (RFC 7523 section 2.2).
func (c *Config) assert(ctx context.Context, form url.Values, secrets *[]string) error {
	if c.Assertion == nil {
		return nil
	}
	a, err := c.Assertion(ctx, c.TokenURL)
	if err != nil {
		return wrap(driver.KindConfig, &Error{Step: StepSign, Err: err})
	}
	form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	form.Set("client_assertion", a.Reveal())
	*secrets = append(*secrets, a.Reveal())
	return nil
}

// checkToken refuses what can't be used as a bearer token (RFC 6750 section
// 2.1) before it reaches a mail server's command line.
func checkToken(t *xoauth2.Token) error {
	bad := func(why string) error {
		return wrap(driver.KindProtocol, &Error{Step: StepToken, Err: errors.New(why)})
	}
	switch {
	case !strings.EqualFold(t.Type(), "Bearer"):
		return bad("the token is of type " + quote(t.Type()) + ", not Bearer")
	case strings.ContainsFunc(t.AccessToken, func(r rune) bool { return r <= ' ' || r > '~' }):
		return bad("the token holds characters that RFC 6750 does not allow")
	case !t.Expiry.IsZero() && !t.Expiry.After(time.Now()):
		return bad("the token had ended when it came")
	}
	return nil
}

func toDriver(t *xoauth2.Token) driver.Token {
	return driver.Token{Value: driver.NewSecret(t.AccessToken), Expiry: t.Expiry}
}

// withClient gives x/oauth2 the client that keeps the promises of this package.
func (c *Config) withClient(ctx context.Context) context.Context {
	t := &transport{base: c.Transport, ctx: ctx, timeout: c.timeout()}
	if t.base == nil {
		// Not http.DefaultTransport: what the host made of that, such as weaker
		// TLS, is not for tokens.
		t.base = &http.Transport{
			Proxy:                  netx.EnvironmentProxy,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2:      true,
			MaxResponseHeaderBytes: maxHeader,
			// A token is asked for once an hour. A kept connection would cost two
			// goroutines and be dead by then.
			DisableKeepAlives: true,
		}
	}
	return context.WithValue(ctx, xoauth2.HTTPClient, &http.Client{
		Transport: t,
		// The form holds the secrets; 307 and 308 would send it elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	})
}

// transport reads the whole answer at once: x/oauth2 does not close all bodies,
// nor does it put the context into all requests.
type transport struct {
	base    http.RoundTripper
	ctx     context.Context
	timeout time.Duration
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeoutCause(t.ctx, t.timeout,
		fmt.Errorf("no answer within %v: %w", t.timeout, context.DeadlineExceeded))
	defer cancel()
	resp, err := t.base.RoundTrip(r.WithContext(ctx))
	if err != nil {
		return nil, ended(ctx, err)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxAnswer+1))
	_ = resp.Body.Close()
	if err != nil {
		return nil, ended(ctx, err)
	}
	if len(body) > MaxAnswer {
		return nil, fmt.Errorf("the answer is longer than %d bytes: %w", MaxAnswer, driver.ErrLimit)
	}
	if bytes.Equal(bytes.TrimSpace(body), []byte("null")) {
		body = []byte("{}") // x/oauth2 v0.37 takes null for a device answer and panics
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// ended prefers the reason why the request was ended.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
