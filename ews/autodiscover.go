package ews

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/httpx"
	"github.com/maildriver/maildriver/internal/netx"
)

const (
	// probeTimeout bounds each question of Autodiscover: a candidate that is
	// mute must not hold up the others.
	probeTimeout = 15 * time.Second
	// maxHops bounds the redirections, of both kinds together.
	maxHops = 10
	// maxSettings bounds an answer of Autodiscover.
	maxSettings = 4 << 20
	// onlineHost answers for all of Exchange Online, without credentials.
	onlineHost = "outlook.office365.com"
)

// discoverAddress is the address that Autodiscover asks for, "" if there is
// none. For a shared mailbox that is still the account's: with it the server is
// found that knows the other.
func (o *options) discoverAddress() string {
	for _, a := range []string{o.ews.email, o.ews.actFor, o.net.User} {
		if a != "" && (o.ews.actAs != SID || a != o.ews.actFor) && checkAddress(a) == nil {
			return a
		}
	}
	return ""
}

// domainOf is the mail domain of an address, in lower case.
func domainOf(address string) string {
	return strings.ToLower(address[strings.LastIndex(address, "@")+1:])
}

// endpoint gives the URL of the service for the account, which it remembers;
// anew forgets what was found before.
func (d *Driver) endpoint(ctx context.Context, o *options, anew bool) (u *url.URL, cached bool, err error) {
	address := o.discoverAddress()
	// What options of one call permit must not hold for another.
	as := fmt.Sprintf("%s %t %t", address, o.tokens(), o.ews.allowRedirection)
	d.mem.mu.Lock()
	if !anew && d.mem.found != nil && d.mem.foundAs == as {
		u = d.mem.found
	}
	d.mem.mu.Unlock()
	if u != nil {
		return u, true, nil
	}
	v := &discovery{o: o, address: address, seen: map[string]bool{}, scrub: func(text string) string { return text }}
	if u, err = v.run(ctx); err != nil {
		return nil, false, err
	}
	d.mem.mu.Lock()
	d.mem.found, d.mem.foundAs = u, as
	d.mem.mu.Unlock()
	return u, false, nil
}

// A discovery is one search for the service. It goes from candidate to candidate
// until one gives its URL, or sends it elsewhere.
type discovery struct {
	o       *options
	address string
	hops    int
	seen    map[string]bool // what was asked already
	tries   []error
	refused error // the first redirection that was not followed
	auth    error // the first refusal of the credentials
	passing bool  // something failed that may be better later
	busy    []*url.URL
	scrub   func(string) string // of the latest client
}

// A finding is what a candidate gives: the URL, or one of two redirections.
type finding struct {
	service *url.URL
	address string
	url     *url.URL
}

func (f finding) empty() bool { return f.service == nil && f.address == "" && f.url == nil }

// run searches, for one address after the other.
func (v *discovery) run(ctx context.Context) (*url.URL, error) {
	for {
		f := v.domain(ctx)
		if f.service != nil {
			return f.service, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, wrap("autodiscover", "", kindOr(context.Cause(ctx), driver.KindTemporary), context.Cause(ctx))
		}
		if f.address == "" {
			return nil, v.failure()
		}
		v.address = f.address
	}
}

// failure sums up why nothing was found.
func (v *discovery) failure() error {
	switch {
	case v.refused != nil:
		return wrap("autodiscover", "", driver.KindPolicy, v.refused)
	case v.auth != nil:
		return wrap("autodiscover", "", driver.KindAuth, fmt.Errorf("%w for %s: %w", ErrAutodiscover, netx.Quote(v.address), v.auth))
	}
	kind := driver.KindPermanent
	if v.passing {
		kind = driver.KindTemporary
	}
	// A driver.Error inside would decide the kind.
	return &driver.Error{Op: "autodiscover", Driver: driverName, Kind: kind, Err: fmt.Errorf("%w for %s: %w", ErrAutodiscover, netx.Quote(v.address), errors.Join(v.tries...))}
}

// domain asks the candidates of the address's domain, in their order.
func (v *discovery) domain(ctx context.Context) finding {
	domain := domainOf(v.address)
	v.busy = nil
	if v.o.net.Tokens != nil {
		// Who logs in with tokens is likely at Exchange Online.
		if f := v.json(ctx, &url.URL{Scheme: "https", Host: onlineHost}); !f.empty() {
			return v.follow(ctx, f, &url.URL{Scheme: "https", Host: onlineHost})
		}
	}
	for _, host := range []string{domain, "autodiscover." + domain} {
		if f := v.host(ctx, &url.URL{Scheme: "https", Host: host}); !f.empty() || ctx.Err() != nil {
			return f
		}
	}
	if f := v.plain(ctx, "autodiscover."+domain); !f.empty() || ctx.Err() != nil {
		return f
	}
	if f := v.srv(ctx, domain); !f.empty() || ctx.Err() != nil {
		return f
	}
	for _, u := range v.busy {
		if f := v.ask(ctx, u); !f.empty() {
			return f
		}
	}
	return finding{}
}

// host asks at one host: SOAP, POX, and JSON without credentials. A host that
// could not be reached, or refused the credentials, is not asked again.
func (v *discovery) host(ctx context.Context, base *url.URL) finding {
	for _, path := range []string{soapPath, poxPath} {
		u := *base
		u.Path = path
		before := len(v.tries)
		if f := v.ask(ctx, &u); !f.empty() {
			return f
		}
		if ctx.Err() != nil || len(v.tries) > before && final(v.tries[len(v.tries)-1]) {
			return finding{}
		}
	}
	return v.follow(ctx, v.json(ctx, base), base)
}

// final tells an error after which there is no use in asking the same host in
// another way: it cannot be reached, or refused the credentials.
func final(err error) bool {
	if errors.As(err, new(*RedirectError)) {
		return false
	}
	switch driver.KindOf(err) {
	case driver.KindAuth:
		return true
	case driver.KindTemporary, driver.KindPolicy, driver.KindProtocol, driver.KindClosed:
		return !errors.As(err, new(*ResponseError)) && !errors.As(err, new(*httpx.StatusError))
	}
	return false
}

// ask asks one URL, by SOAP or POX, and follows where it leads.
func (v *discovery) ask(ctx context.Context, u *url.URL) finding {
	if v.o.tokens() && !v.o.mayHaveToken(u) || strings.HasSuffix(strings.ToLower(u.Path), ".json") {
		base := &url.URL{Scheme: u.Scheme, Host: u.Host}
		return v.follow(ctx, v.json(ctx, base), base)
	}
	key := v.address + "\x00" + u.String()
	if v.seen[key] {
		return finding{}
	}
	v.seen[key] = true
	var f finding
	var err error
	if strings.HasSuffix(strings.ToLower(u.Path), ".svc") {
		f, err = v.soap(ctx, u)
	} else {
		f, err = v.pox(ctx, u)
	}
	if err != nil {
		v.failed(u, err)
		return finding{}
	}
	return v.follow(ctx, f, u)
}

// failed notes why a candidate is dead.
func (v *discovery) failed(u *url.URL, err error) {
	switch driver.KindOf(err) {
	case driver.KindAuth:
		if v.auth == nil {
			v.auth = err
		}
	case driver.KindTemporary:
		v.passing = true
	}
	if re, ok := errors.AsType[*ResponseError](err); ok && re.busy() {
		delete(v.seen, v.address+"\x00"+u.String())
		v.busy = append(v.busy, u)
	}
	v.o.common.Logger.Debug("autodiscover", "driver", driverName, "url", v.scrub(u.String()), "error", err.Error())
	if len(v.tries) < 2*maxHops {
		v.tries = append(v.tries, err)
	}
}

// follow goes where a candidate leads, if that is permitted. Redirections to
// other addresses move the password to another domain as well as those to other
// URLs do, so that one option governs both.
func (v *discovery) follow(ctx context.Context, f finding, from *url.URL) finding {
	switch {
	case f.service != nil:
		if f.service.Scheme != "https" && !v.o.net.AllowInsecureAuth {
			v.failed(from, fmt.Errorf("the service is at %s, without TLS", netx.Quote(v.scrub(f.service.String()))))
			return finding{}
		}
		if v.o.tokens() && !v.o.ews.allowRedirection && !v.o.mayHaveToken(f.service) {
			v.refuse(from, &RedirectError{From: from.String(), Target: f.service.String(), Why: "tokens go to Exchange Online, and to the server that ews.New was given; see also ews.WithAllowRedirection"})
			return finding{}
		}
		return f
	case f.address != "":
		if err := v.permitAddress(f.address, from); err != nil {
			v.refuse(from, err)
			return finding{}
		}
		return f
	case f.url != nil:
		if err := v.permitURL(f.url, from); err != nil {
			v.refuse(from, err)
			return finding{}
		}
		return v.ask(ctx, f.url)
	}
	return f
}

func (v *discovery) refuse(from *url.URL, err error) {
	err = cleaned(err, v.scrub)
	if re, ok := errors.AsType[*RedirectError](err); ok && v.refused == nil {
		v.refused = re
	}
	v.failed(from, err)
}

// permitAddress checks a redirection to another address.
func (v *discovery) permitAddress(address string, from *url.URL) error {
	refuse := func(why string) error { return &RedirectError{From: from.String(), Target: address, Why: why} }
	if checkAddress(address) != nil {
		return refuse("it is no e-mail address")
	}
	if strings.EqualFold(address, v.address) {
		return errors.New("the server redirects to the address that was asked for")
	}
	if domainOf(address) != domainOf(v.address) && !v.o.ews.allowRedirection {
		return refuse("it is in another mail domain; see ews.WithAllowRedirection")
	}
	if v.hops++; v.hops > maxHops {
		return refuse(fmt.Sprintf("more than %d redirections", maxHops))
	}
	if v.seen["address "+strings.ToLower(address)] {
		return refuse("the redirections go round in a circle")
	}
	v.seen["address "+strings.ToLower(v.address)] = true
	return nil
}

// permitURL checks a redirection to another URL.
func (v *discovery) permitURL(target, from *url.URL) error {
	v.hops++
	domain := domainOf(v.address)
	host := strings.ToLower(target.Hostname())
	inside := host == domain || strings.HasSuffix(host, "."+domain)
	if err := checkRedirect(from, target, v.o.ews.allowRedirection || inside, v.hops); err != nil {
		return err
	}
	if v.seen[v.address+"\x00"+target.String()] {
		return &RedirectError{From: from.String(), Target: target.String(), Why: "the redirections go round in a circle"}
	}
	return nil
}

// checkRedirect holds a redirection against the rules: only https, only within
// the host unless permitted, and not without end.
func checkRedirect(from, target *url.URL, allowed bool, hops int) error {
	refuse := func(why string) error {
		shown := *target
		shown.User = nil
		return &RedirectError{From: from.String(), Target: shown.String(), Why: why}
	}
	switch {
	case target.Scheme != "https":
		return refuse("it is not https")
	case target.User != nil || target.Hostname() == "":
		return refuse("it is no plain URL")
	case !allowed && (from.Scheme != "https" || !strings.EqualFold(from.Host, target.Host)):
		return refuse("it is another host; see ews.WithAllowRedirection")
	case hops > maxHops:
		return refuse(fmt.Sprintf("more than %d redirections", maxHops))
	}
	return nil
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// client makes a client for one question. The candidates are guesses: a web
// server of the mail domain, that knows nothing of Exchange, must not get
// credentials that it does not ask for.
func (v *discovery) client(u *url.URL, anonymous bool) (*httpx.Client, error) {
	n := v.o.at(u)
	n.Timeout = min(n.Timeout, probeTimeout)
	c, err := httpx.New(&n, httpx.Options{Driver: driverName, URL: u, Log: v.o.common.Logger, MaxConns: 1, Anonymous: anonymous, WaitForChallenge: true})
	if err == nil {
		v.scrub = c.Scrub
	}
	return c, err
}

// answer sends a question and gives the answer to read, which must be one with
// 200; a redirection of HTTP becomes a finding.
func (v *discovery) answer(req *http.Request, anonymous bool, read func(*http.Response) (finding, error)) (finding, error) {
	c, err := v.client(req.URL, anonymous)
	if err != nil {
		return finding{}, err
	}
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(req.Context(), probeTimeout)
	defer cancel()
	resp, err := c.Do(req.WithContext(ctx))
	if err != nil {
		return finding{}, err
	}
	defer httpx.Drain(resp)
	switch {
	case isRedirect(resp.StatusCode):
		target, err := resp.Location()
		if err != nil {
			return finding{}, &ResponseError{Operation: "Autodiscover", Status: resp.StatusCode, Text: "a redirection without a target"}
		}
		return finding{url: target}, nil
	case resp.StatusCode == http.StatusOK, resp.StatusCode == http.StatusBadRequest && req.Method == http.MethodGet:
		f, err := read(resp)
		return f, cleaned(err, c.Scrub)
	}
	re := &ResponseError{Operation: "Autodiscover", Status: resp.StatusCode, BackOff: retryAfter(resp.Header)}
	return finding{}, wrap("autodiscover", req.URL.Host, re.kind(), re)
}

// tree reads an answer as XML.
func tree(resp *http.Response) (*node, error) {
	d := newDocument(newSource(resp.Body, maxSettings))
	root, err := d.root()
	if err != nil {
		return nil, err
	}
	return d.element(root)
}

// serviceURL reads the URL of the service out of a setting.
func serviceURL(text string) *url.URL {
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil || u.Hostname() == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return nil
	}
	return u
}
