package httpx

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/httpauth"
	"github.com/maildriver/maildriver/internal/netx"
)

// A StatusError is an answer of the server that ended a step.
type StatusError struct {
	// Method and Path are of the request; the query is left out.
	Method, Path string
	// Status is the code, Text its reason phrase as the server gave it.
	Status int
	Text   string
	// Schemes are the authentication schemes that the server offered, in lower
	// case.
	Schemes []string
	// Header is that of the answer.
	Header http.Header
}

func (e *StatusError) Error() string {
	s := fmt.Sprintf("%s %s: status %d", e.Method, netx.Quote(e.Path), e.Status)
	if e.Text != "" {
		s += " " + netx.Quote(e.Text)
	}
	if len(e.Schemes) > 0 {
		s += ", the server offers " + netx.Quote(strings.Join(e.Schemes, ", "))
	}
	return s
}

func newStatusError(resp *http.Response) *StatusError {
	e := &StatusError{Status: resp.StatusCode, Header: resp.Header}
	_, e.Text, _ = strings.Cut(resp.Status, " ")
	if resp.Request != nil {
		e.Method, e.Path = resp.Request.Method, resp.Request.URL.Path
	}
	offered, _ := httpauth.Parse(resp.Header.Values("WWW-Authenticate"))
	for _, ch := range offered {
		e.Schemes = append(e.Schemes, strings.ToLower(ch.Scheme))
	}
	return e
}

// KindOf tells what a status means for the caller (RFC 9110 section 15), where
// the protocol says nothing more.
func KindOf(status int) driver.Kind {
	switch {
	case status == http.StatusUnauthorized, status == 440: // 440: Exchange, the session is over
		return driver.KindAuth
	case status == http.StatusProxyAuthRequired:
		return driver.KindAuth
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status == http.StatusLocked, status == http.StatusTooEarly:
		return driver.KindTemporary
	case status >= 500 && status != http.StatusNotImplemented && status != http.StatusInsufficientStorage && status != http.StatusHTTPVersionNotSupported:
		return driver.KindTemporary
	case status >= 300:
		return driver.KindPermanent
	}
	return driver.KindProtocol // a success where none is possible
}

// An OriginError says that a request for another host, port or scheme was not
// sent: credentials are for one origin.
type OriginError struct {
	Origin string // the client's
	URL    string // what was asked for, without user and query
}

func (e *OriginError) Error() string {
	return fmt.Sprintf("%s is not of %s: nothing was sent there", netx.Quote(e.URL), e.Origin)
}

// bare gives a URL fit for an error.
func bare(u *url.URL) string {
	if u == nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
