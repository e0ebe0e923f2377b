package httpx

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/httpauth"
)

// A login authenticates one request. Its methods are called in turn: header
// before each try, challenged after a 401, settled after any other answer.
type login interface {
	// header gives the value of Authorization for the next try, "" for none;
	// empty asks to send the request without its body, because the server is
	// going to refuse this try in any case.
	header(ctx context.Context, req *http.Request) (value string, empty bool, err error)
	// challenged tells whether another try is worth while.
	challenged(t *try, offered []httpauth.Challenge) (again bool, err error)
	// settled checks what the server proves of itself.
	settled(t *try, resp *http.Response) error
}

// maxTries bounds the requests of one exchange: three for a login on a
// connection, and the same once more when that connection was lost.
const maxTries = 8

// exchange sends a request, and again for as long as a login needs it.
func (c *Client) exchange(ctx context.Context, l *lane, req *http.Request) (*http.Response, error) {
	lg, err := c.login(l, nil)
	if err != nil {
		return nil, err
	}
	whole := req.Body != nil && req.Body != http.NoBody // the request's own body is unused
	withBody := whole
	defer func() {
		if whole {
			_ = req.Body.Close()
		}
	}()
	for range maxTries {
		value, empty, err := "", false, error(nil)
		if lg != nil {
			if value, empty, err = lg.header(ctx, req); err != nil {
				return nil, c.authError(req, err)
			}
		}
		empty = empty && withBody
		t := &try{}
		if t.req, err = c.prepare(req, whole, empty); err != nil {
			return nil, err
		}
		whole = whole && empty
		if value != "" {
			t.req.Header.Set("Authorization", value)
		}
		resp, err := l.roundTrip(ctx, t)
		if err != nil {
			source := t.source.Load()
			switch {
			case source != nil && ctx.Err() == nil: // the last bytes never left
				return nil, c.sourceError(*source)
			case t.maySent() && !empty:
				err = &sentError{err}
			case t.reused && ctx.Err() == nil && (!withBody || req.GetBody != nil):
				// The server cannot have got it all: nothing is done twice.
				if lg, err = c.login(l, nil); err != nil {
					return nil, err
				}
				continue
			}
			return nil, err
		}
		c.jar.take(t.req, resp.Header)
		if again, err := c.warm(ctx, l, t, resp, withBody && !empty); err != nil {
			return nil, err
		} else if again {
			continue
		}
		if resp.StatusCode != http.StatusUnauthorized || c.anonymous() {
			if lg != nil {
				if err := lg.settled(t, resp); err != nil {
					_ = resp.Body.Close()
					return nil, c.authError(req, err)
				}
			}
			if empty {
				// The server took a request without its body: it wants no login
				// here. What it did with the empty one is not what was asked.
				Drain(resp)
				lg = nil
				continue
			}
			return resp, nil
		}
		offered, _ := httpauth.Parse(resp.Header.Values("WWW-Authenticate")) // what can be read of it counts
		refused := c.statusError(resp)
		Drain(resp)
		if lg == nil {
			if lg, err = c.login(l, offered); err != nil {
				return nil, c.wrap("auth", kindOfRefusal(err), fmt.Errorf("%w (%w)", err, refused))
			}
			continue
		}
		again, err := lg.challenged(t, offered)
		if err != nil {
			return nil, c.authError(req, fmt.Errorf("%w (%w)", err, refused))
		}
		if !again {
			return nil, c.wrap("auth", driver.KindAuth, fmt.Errorf("the credentials are refused: %w", refused))
		}
	}
	return nil, c.wrap("auth", driver.KindAuth, fmt.Errorf("no end after %d tries to log in", maxTries))
}

// sourceError says that it was the body of the request that failed.
func (c *Client) sourceError(err error) error {
	if de, ok := errors.AsType[*driver.Error](err); ok {
		return de
	}
	return c.wrap("source", driver.KindLocal, &quoted{err})
}

func (c *Client) anonymous() bool { return len(c.schemes) == 0 }

// authError wraps what went wrong with a login.
func (c *Client) authError(req *http.Request, err error) error {
	if de, ok := errors.AsType[*driver.Error](err); ok {
		return de
	}
	if cause := context.Cause(req.Context()); cause != nil {
		return cause
	}
	return c.wrap("auth", kindOfRefusal(err), err)
}

func kindOfRefusal(err error) driver.Kind {
	switch {
	case errors.Is(err, driver.ErrInsecureAuth):
		return driver.KindPolicy
	case errors.Is(err, driver.ErrNoToken):
		if k := driver.KindOf(err); k != driver.KindUnknown {
			return k
		}
	}
	return driver.KindAuth
}

// The schemes, in the order of preference.
const (
	schemeBearer    = "bearer"
	schemeNegotiate = "negotiate"
	schemeNTLM      = "ntlm"
	schemeDigest    = "digest"
	schemeBasic     = "basic"
)

// automatic gives the schemes that need no naming. A token source or a Kerberos
// login means that no password is to go anywhere instead. NTLM, also where it is
// called Negotiate, can be cracked and relayed, so it must be asked for.
func (c *Client) automatic() []string {
	switch {
	case c.net.Tokens != nil:
		return []string{schemeBearer}
	case c.net.Negotiator != nil:
		return []string{schemeNegotiate}
	}
	return []string{schemeDigest, schemeBasic}
}

// names maps names of mechanisms to schemes. The SASL names mean what they mean
// over HTTP.
var names = map[string]string{
	"BEARER": schemeBearer, "OAUTHBEARER": schemeBearer, "XOAUTH2": schemeBearer,
	"NEGOTIATE": schemeNegotiate, "GSSAPI": schemeNegotiate,
	"NTLM": schemeNTLM, "DIGEST": schemeDigest, "DIGEST-MD5": schemeDigest,
	"BASIC": schemeBasic, "PLAIN": schemeBasic,
}

// allowed gives the schemes that may be used, best first; none for a client
// without credentials.
func (c *Client) allowed() ([]string, error) {
	n := &c.net
	if c.opts.Anonymous || n.User == "" && n.Tokens == nil && n.Negotiator == nil {
		return nil, nil
	}
	var list []string
	for _, m := range n.Mechanisms {
		s, ok := names[strings.ToUpper(m)]
		if !ok {
			return nil, fmt.Errorf("driver.Mechanisms: %q is not an authentication scheme of HTTP: BEARER, NEGOTIATE, NTLM, DIGEST, BASIC are", m)
		}
		if err := c.possible(s); err != nil {
			return nil, fmt.Errorf("driver.Mechanisms: %s: %w", m, err)
		}
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	if len(n.Mechanisms) > 0 {
		return list, nil
	}
	for _, s := range c.automatic() {
		if c.possible(s) == nil {
			list = append(list, s)
		}
	}
	return list, nil
}

// possible tells why a scheme cannot be used with the credentials at hand.
func (c *Client) possible(scheme string) error {
	n := &c.net
	password := n.User != "" && !n.Password.IsZero()
	switch scheme {
	case schemeBearer:
		if n.Tokens == nil {
			return errors.New("driver.WithTokenSource is missing")
		}
	case schemeNegotiate:
		if n.Negotiator == nil && !password {
			return errors.New("driver.WithNegotiator is missing, and so is a password")
		}
	default:
		if !password {
			return errors.New("driver.WithLogin with a password is missing")
		}
	}
	return nil
}

// login makes the login of one exchange. offered is nil before the server was
// asked: then there is a login only if the scheme is known.
func (c *Client) login(l *lane, offered []httpauth.Challenge) (login, error) {
	if c.anonymous() {
		return nil, nil //nolint:nilnil // no login is none
	}
	c.mu.Lock()
	scheme := c.scheme
	c.mu.Unlock()
	if offered == nil && scheme == "" && c.opts.WaitForChallenge {
		return nil, nil //nolint:nilnil // the server is to ask first
	}
	if offered == nil && scheme == "" && len(c.schemes) == 1 && (c.schemes[0] == schemeBasic || c.schemes[0] == schemeBearer) {
		scheme = c.schemes[0] // no need to ask
	}
	if offered == nil && scheme == "" && c.net.Tokens != nil && slices.Contains(c.schemes, schemeBearer) && c.secure(schemeBearer) == nil {
		scheme = schemeBearer
	}
	if offered != nil {
		var err error
		if scheme, err = c.choose(offered); err != nil {
			return nil, err
		}
		c.mu.Lock()
		c.scheme = scheme
		c.mu.Unlock()
	}
	if scheme == "" {
		return nil, nil //nolint:nilnil // the server is to say what it wants
	}
	if err := c.secure(scheme); err != nil {
		return nil, c.wrap("auth", driver.KindPolicy, err)
	}
	return c.newLogin(l, scheme, offered), nil
}

// secure refuses schemes that show the secret, without TLS.
func (c *Client) secure(scheme string) error {
	if scheme != schemeBasic && scheme != schemeBearer || c.origin.Scheme == "https" || c.net.AllowInsecureAuth {
		return nil
	}
	return fmt.Errorf("%w (%s over http)", driver.ErrInsecureAuth, scheme)
}

// A SchemeError says that the server offers no authentication scheme that may
// be used.
type SchemeError struct {
	Offered []string // lower case
	Allowed []string
}

func (e *SchemeError) Error() string {
	offered := "none"
	if len(e.Offered) > 0 {
		offered = fmt.Sprintf("%q", e.Offered)
	}
	return fmt.Sprintf("no usable authentication scheme: the server offers %s, allowed are %q", offered, e.Allowed)
}

// choose takes the best of the schemes that are offered and allowed. One that
// would show the secret is left out, and named if nothing else is there.
func (c *Client) choose(offered []httpauth.Challenge) (string, error) {
	e := &SchemeError{Allowed: c.schemes}
	for _, ch := range offered {
		if s := strings.ToLower(ch.Scheme); !slices.Contains(e.Offered, s) {
			e.Offered = append(e.Offered, s)
		}
	}
	var insecure error
	for _, s := range c.schemes {
		if !slices.Contains(e.Offered, s) {
			continue
		}
		if s == schemeNegotiate && c.net.Negotiator == nil && slices.Contains(e.Offered, schemeNTLM) && slices.Contains(c.schemes, schemeNTLM) {
			continue // the same under its own name
		}
		if err := c.secure(s); err != nil {
			insecure = err
			continue
		}
		if s == schemeDigest && !digestUsable(offered) {
			continue
		}
		return s, nil
	}
	if insecure != nil {
		return "", insecure
	}
	return "", e
}
