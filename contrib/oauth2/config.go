package oauth2

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/maildriver/maildriver/driver"
)

// DefaultTimeout bounds one request to the token server, with connecting and
// reading the answer.
const DefaultTimeout = 30 * time.Second

// MaxAnswer is the longest answer that is taken from a token server, in bytes.
const MaxAnswer = 256 << 10

// maxHeader is the longest header that is taken from a token server, in bytes.
const maxHeader = 64 << 10

// A Config says who asks whom for what. It is only read, and may be shared by
// any number of goroutines.
type Config struct {
	// TokenURL is the token endpoint; https, or http on this machine.
	TokenURL string
	// DeviceURL is the device authorisation endpoint (RFC 8628), for
	// [Config.Device] alone.
	DeviceURL string
	// ClientID names the application; required but for ServiceAccount.
	ClientID string
	// Secret is that of the application, got from its place for each request;
	// zero for public clients.
	Secret driver.Secret
	// SecretInHeader sends ClientID and Secret as HTTP Basic instead of in the
	// form. Only one way is tried, so that no wrong secret counts twice.
	SecretInHeader bool
	// Assertion proves the application in place of Secret; nil means that
	// Secret does. See [Certificate].
	Assertion Assertion
	// Scopes are what is asked for; none leaves it to the server.
	Scopes []string
	// Transport carries the requests; nil means one that uses the proxies of
	// the environment (as driver.ProxySystem: a bad URL there is an error, never a
	// way around the proxy), TLS 1.2 or better, and keeps no connections. Nothing
	// of http.DefaultTransport is taken. The TLS rules of another are its own.
	Transport http.RoundTripper
	// Timeout is for one request; zero means [DefaultTimeout].
	Timeout time.Duration
}

// An Assertion makes a signed statement of who the client is (RFC 7523 section
// 2.2), for the given audience. It is called for each request.
type Assertion func(ctx context.Context, audience string) (driver.Secret, error)

// check reports everything that is wrong with the configuration.
func (c *Config) check(needClient bool) error {
	var errs []error
	if needClient && c.ClientID == "" {
		errs = append(errs, errors.New("the ClientID is empty"))
	}
	if err := checkURL(c.TokenURL); err != nil {
		errs = append(errs, fmt.Errorf("the TokenURL %w", err))
	}
	if c.Timeout < 0 {
		errs = append(errs, fmt.Errorf("the Timeout %v is negative", c.Timeout))
	}
	if !c.Secret.IsZero() && c.Assertion != nil {
		errs = append(errs, errors.New("the Secret and the Assertion exclude each other"))
	}
	for _, s := range c.Scopes {
		// RFC 6749 section 3.3: a scope holds no space.
		if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
			errs = append(errs, fmt.Errorf("%s is not a scope", quote(s)))
		}
	}
	if len(errs) > 0 {
		return configError(errors.Join(errs...))
	}
	return nil
}

// checkURL keeps secrets off the wire in clear (RFC 6749 section 3.2).
func checkURL(text string) error {
	if text == "" {
		return errors.New("is empty")
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return errors.New("is not a URL") // the error would show a password inside
	case u.User != nil:
		return errors.New("holds a user name")
	case u.Fragment != "":
		return errors.New("has a fragment")
	case strings.ContainsAny(text, "{}"):
		return fmt.Errorf("%s has a place that was not filled in", quote(text))
	case u.Hostname() == "":
		return errors.New("has no host")
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	}
	return fmt.Errorf("%s is not https", quote(text))
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (c *Config) timeout() time.Duration {
	if c.Timeout == 0 {
		return DefaultTimeout
	}
	return c.Timeout
}
