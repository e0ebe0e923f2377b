package gssapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/iana/nametype"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/maildriver/maildriver/driver"
)

const (
	// DefaultTimeout bounds the exchange with one KDC, with connecting.
	DefaultTimeout = 5 * time.Second
	// MaxAnswer is the longest answer that is taken from a KDC, in bytes.
	MaxAnswer = 256 << 10
	// DefaultConfigFile is read if neither the option nor the environment
	// variable KRB5_CONFIG names another.
	DefaultConfigFile = "/etc/krb5.conf"

	// maxFile bounds krb5.conf, keytabs and caches, in bytes.
	maxFile = 4 << 20
	// maxName is longer than any principal or host may be, in bytes.
	maxName = 1024
	// ticketMargin is how long before its end a ticket is replaced.
	ticketMargin = time.Minute
)

// A Client holds one identity and its tickets. Any number of goroutines may
// use it; those that need a ticket wait for each other, so that the KDC is
// asked once. It starts no goroutines and needs no closing.
type Client struct {
	cred    Credentials
	conf    *config.Config
	dial    driver.DialFunc
	timeout time.Duration
	now     func() time.Time

	last atomic.Int64  // the last time stamp used, in microseconds
	turn chan struct{} // full while somebody asks KDCs

	mu      sync.Mutex
	tickets map[string]*ticket // by the service with its realm
}

var _ driver.Negotiator = (*Client)(nil)

// An Option changes a [Client] before its first use.
type Option func(*settings) error

type settings struct {
	text    string
	file    string
	dial    driver.DialFunc
	timeout time.Duration
}

// WithConfigFile reads the configuration from a file with the format of
// krb5.conf; "include" is not followed.
func WithConfigFile(path string) Option {
	return func(s *settings) error { s.file, s.text = path, ""; return nil }
}

// WithConfig is the text of a configuration in the format of krb5.conf.
func WithConfig(text string) Option {
	return func(s *settings) error {
		if text == "" {
			return errors.New("WithConfig: the text is empty")
		}
		s.text = text
		return nil
	}
}

// WithDial opens the connections to KDCs; by default a net.Dialer does.
func WithDial(dial driver.DialFunc) Option {
	return func(s *settings) error {
		if dial == nil {
			return errors.New("WithDial: the function is nil")
		}
		s.dial = dial
		return nil
	}
}

// WithTimeout bounds the exchange with one KDC; default [DefaultTimeout].
func WithTimeout(d time.Duration) Option {
	return func(s *settings) error {
		if d <= 0 {
			return fmt.Errorf("WithTimeout: %v is not positive", d)
		}
		s.timeout = d
		return nil
	}
}

// New makes a client. It reads the configuration, but asks nobody: credentials
// are looked at when the first context is started.
func New(cred Credentials, opts ...Option) (*Client, error) {
	s := settings{file: DefaultConfigFile, dial: (&net.Dialer{}).DialContext, timeout: DefaultTimeout}
	if path := os.Getenv("KRB5_CONFIG"); path != "" {
		s.file = path
	}
	var errs []error
	for _, o := range opts {
		errs = append(errs, o(&s))
	}
	if cred.kind == 0 {
		errs = append(errs, errors.New("no credentials"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fail(driver.KindConfig, StepConfig, "", err)
	}
	conf, err := s.load()
	if err != nil {
		return nil, err
	}
	c := &Client{
		cred: cred, conf: conf, dial: s.dial, timeout: s.timeout, now: time.Now,
		turn: make(chan struct{}, 1), tickets: make(map[string]*ticket),
	}
	if cred.kind != fromCache {
		if _, _, err := c.principal(cred.principal); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (s *settings) load() (*config.Config, error) {
	name, text := "", s.text
	if text == "" {
		name = s.file
		b, err := readFile(s.file)
		if err != nil {
			return nil, fail(driver.KindConfig, StepConfig, name, err)
		}
		text = string(b)
	}
	conf, err := guard(func() (*config.Config, error) { return config.NewFromString(text) })
	if conf == nil {
		if err == nil {
			err = errMalformed
		}
		return nil, fail(driver.KindConfig, StepConfig, name, err)
	}
	if _, ok := errors.AsType[config.UnsupportedDirective](err); err != nil && !ok {
		return nil, fail(driver.KindConfig, StepConfig, name, err)
	}
	// The client's own name must be taken as it is: nothing would vouch for
	// another one in the answer.
	conf.LibDefaults.Canonicalize = false
	ours := config.New().LibDefaults
	conf.LibDefaults.DefaultTktEnctypeIDs = strong(conf.LibDefaults.DefaultTktEnctypeIDs, ours.DefaultTktEnctypeIDs)
	conf.LibDefaults.DefaultTGSEnctypeIDs = strong(conf.LibDefaults.DefaultTGSEnctypeIDs, ours.DefaultTGSEnctypeIDs)
	if len(conf.LibDefaults.DefaultTktEnctypeIDs) == 0 || len(conf.LibDefaults.DefaultTGSEnctypeIDs) == 0 {
		return nil, failf(driver.KindConfig, StepConfig, name, "the configuration leaves no AES encryption type")
	}
	return conf, nil
}

// principal reads "name@REALM", the realm being the default one if absent.
func (c *Client) principal(text string) (types.PrincipalName, string, error) {
	name, realm := text, c.conf.LibDefaults.DefaultRealm
	if i := strings.LastIndexByte(text, '@'); i >= 0 {
		name, realm = text[:i], text[i+1:]
	}
	pn := types.NewPrincipalName(nametype.KRB_NT_PRINCIPAL, name)
	err := checkName(text)
	for _, part := range pn.NameString {
		if part == "" && err == nil {
			err = errors.New("a part of the name is empty")
		}
	}
	if realm == "" && err == nil {
		err = errors.New("it names no realm, and the configuration no default_realm")
	}
	if err != nil {
		return pn, realm, fail(driver.KindConfig, StepConfig, text, err)
	}
	return pn, realm, nil
}

func checkName(s string) error {
	switch {
	case s == "":
		return errors.New("the name is empty")
	case len(s) > maxName:
		return fmt.Errorf("longer than %d bytes", maxName)
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return errors.New("the name holds a space or control character")
	}
	return nil
}

// Start begins a context with a service at a host, getting a ticket if there is
// none: see [driver.Negotiator]. For the service "HTTP" the tokens are those of
// SPNEGO (RFC 4178), for all others those of Kerberos (RFC 4121). The host may
// be followed by "@" and a realm.
func (c *Client) Start(ctx context.Context, service, host string, channelBinding []byte) (driver.SecurityContext, error) {
	host, realm, _ := strings.Cut(host, "@")
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	name := service + "/" + host
	if service == "" || strings.ContainsAny(service+host, "/@") || host == "" || checkName(name) != nil {
		return nil, failf(driver.KindConfig, StepConfig, name, "not a service at a host")
	}
	if realm == "" {
		realm = c.conf.ResolveRealm(host)
	}
	t, err := c.ticketFor(ctx, name, realm)
	if err != nil {
		return nil, err
	}
	return newContext(c, t, name, strings.EqualFold(service, "HTTP"), channelBinding), nil
}

// stamp gives the time in whole microseconds, never the same twice: servers
// take an equal one for a replay (RFC 4120 section 3.2.3).
func (c *Client) stamp() time.Time {
	for {
		last, now := c.last.Load(), c.now().UnixMicro()
		now = max(now, last+1)
		if c.last.CompareAndSwap(last, now) {
			return time.UnixMicro(now).UTC()
		}
	}
}
