package webdav

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/httpx"
)

// The login pages and the addresses that their forms are sent to, where the
// server does not tell.
var logonPages = []struct{ page, action davPath }{
	{"/exchweb/bin/auth/owalogon.asp", "/exchweb/bin/auth/owaauth.dll"}, // 2003
	{"/owa/auth/logon.aspx", "/owa/auth/owaauth.dll"},                   // 2007
}

// maxHops bounds redirects and frames on the way to the form.
const maxHops = 4

// login fills in the login form of Outlook Web Access, once. That it was right
// shows only with the next request: Exchange 2007 sets cookies for a wrong
// password too. The caller has the turn.
func (s *session) login(ctx context.Context) error {
	if s.origin.Scheme != "https" && !s.net.AllowInsecureAuth {
		return s.wrap("auth", driver.KindPolicy, fmt.Errorf("%w (form over http)", driver.ErrInsecureAuth))
	}
	s.mu.Lock()
	refused := s.refused
	s.mu.Unlock()
	if refused != nil { // others waited for the turn meanwhile: each try more counts towards a locked account
		return refused
	}
	s.anon.Forget()
	f, at, err := s.findForm(ctx)
	if err != nil {
		return err
	}
	resp, err := s.anonymous(ctx, &call{
		method: http.MethodPost, path: at.path, page: true, body: s.fill(f),
		header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"},
	})
	if err != nil {
		return err
	}
	reply := s.replyOf("LOGIN", resp)
	target := strings.ToLower(resp.Header.Get("Location"))
	page := &page{}
	if resp.StatusCode == http.StatusOK && isHTML(resp) {
		if page, err = readPage(resp); err != nil {
			return err
		}
	}
	httpx.Drain(resp)
	switch {
	case strings.Contains(target, "languageselection.aspx"):
		reply.Err = ErrNeverOpened
		return s.wrap("auth", driver.KindPermanent, reply)
	case hasReason(target), logonPage(target) != notLogon, page.form() != nil:
		reply.Err = errors.New("the server refuses user name or password")
		err := s.wrap("auth", driver.KindAuth, reply)
		s.mu.Lock()
		s.refused = err
		s.mu.Unlock()
		return err
	case resp.StatusCode >= 500:
		return s.wrap("auth", driver.KindTemporary, reply)
	case resp.StatusCode >= 400:
		reply.Err = errors.New("the login form is not taken")
		return s.wrap("auth", driver.KindAuth, reply)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logins++
	s.unproven = true
	return nil
}

// hasReason tells of a Location that names a failure: 2 is a wrong password, 4
// one that must be changed.
func hasReason(location string) bool {
	_, query, _ := strings.Cut(location, "?")
	for pair := range strings.SplitSeq(query, "&") {
		if key, value, _ := strings.Cut(pair, "="); key == "reason" && value != "0" && value != "" {
			return true
		}
	}
	return false
}

// place is an address on the server with its query.
type place struct {
	path  davPath
	query string
}

// findForm looks for the login page: where the server leads, else where it is
// by default. No page at all is no obstacle, since the address of the form is
// known.
func (s *session) findForm(ctx context.Context) (*form, place, error) {
	at := place{path: s.start()}
	guess := -1 // the next of logonPages
	fallback := logonPages[0].action
	for range maxHops + len(logonPages) {
		resp, err := s.anonymous(ctx, &call{method: http.MethodGet, path: at.path.withQuery(at.query), page: true, anyway: true})
		if err != nil {
			return nil, at, err
		}
		if v := resp.Header.Get("X-OWA-Version"); v != "" && !strings.HasPrefix(v, "6.") {
			fallback = logonPages[1].action
		}
		next, hop := place{}, false
		switch {
		case resp.StatusCode/100 == 3:
			target := resp.Header.Get("Location")
			httpx.Drain(resp)
			if next, err = s.resolve(at, target); err != nil {
				return nil, at, err
			}
			hop = true
		case resp.StatusCode == http.StatusOK && isHTML(resp):
			p, err := readPage(resp)
			if err != nil {
				return nil, at, err
			}
			if f := p.form(); f != nil {
				return s.formAt(at, p, f, fallback)
			}
			if len(p.frames) > 0 {
				if next, err = s.resolve(at, p.frames[0]); err != nil {
					return nil, at, err
				}
				hop = true
			}
		default:
			httpx.Drain(resp)
		}
		if hop {
			at = next
			continue
		}
		if guess++; guess >= len(logonPages) {
			break
		}
		at = place{path: logonPages[guess].page}
	}
	return &form{user: "username", password: "password"}, place{path: fallback}, nil
}

// formAt gives the form and where it is to be sent.
func (s *session) formAt(at place, p *page, f *form, fallback davPath) (*form, place, error) {
	action := f.action
	if action == "" {
		action = p.script
	}
	if strings.Contains(strings.ToLower(at.path.decoded()), "/owa/") {
		fallback = logonPages[1].action
	}
	if action == "" {
		return f, place{path: fallback}, nil
	}
	to, err := s.resolve(at, action)
	to.path = to.path.withQuery(to.query)
	return f, to, err
}

// resolve takes a reference relative to a page. One to another host is
// refused: the password would go there.
func (s *session) resolve(at place, ref string) (place, error) {
	base := at.path.url(s.origin)
	u, err := base.Parse(strings.TrimSpace(ref))
	if err != nil {
		return place{}, s.wrap("auth", driver.KindProtocol, errors.New("the login page holds an address that is none"))
	}
	if !s.anon.Same(u) {
		return place{}, s.wrap("auth", driver.KindPolicy, fmt.Errorf("the login leads to %s, and nothing is sent there", quote(u.Scheme+"://"+u.Host+u.EscapedPath())))
	}
	return place{davPath(encodeRest(u.EscapedPath())), u.RawQuery}, nil
}

// fill makes the body of the form.
func (s *session) fill(f *form) string {
	flags := "4" // a private computer: a session of hours
	if s.set.public {
		flags = "0"
	}
	user := s.net.User
	if s.net.Domain != "" && !strings.ContainsAny(user, `\@`) {
		user = s.net.Domain + `\` + user
	}
	v := url.Values{}
	for _, h := range f.fields {
		v.Set(h.name, h.value)
	}
	name := func(given, usual string) string {
		if given == "" {
			return usual
		}
		return given
	}
	v.Set("destination", s.start().url(s.origin).String())
	v.Set("flags", flags)
	v.Set("trusted", flags)
	v.Set("SubmitCreds", "Log On")
	v.Set(name(f.user, "username"), user)
	v.Set(name(f.password, "password"), s.net.Password.Reveal())
	return v.Encode()
}
