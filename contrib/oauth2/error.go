package oauth2

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	xoauth2 "golang.org/x/oauth2"

	"github.com/maildriver/maildriver/driver"
)

// Errors that hosts test with errors.Is.
var (
	// ErrGrantRefused says that the refresh token (or what else stood for the
	// user's consent) is not or no longer valid: the user must authorise the
	// application anew.
	ErrGrantRefused = errors.New("the authorisation is not valid any more; authorise anew")
	// ErrClientRefused says that the server does not accept the application:
	// its id, secret or certificate is wrong or has ended, or it may not use
	// this flow.
	ErrClientRefused = errors.New("the server does not accept the application; check its id, secret or certificate")
	// ErrDenied says that the user said no.
	ErrDenied = errors.New("the user denied the authorisation")
	// ErrDeviceExpired says that the user did not answer in time.
	ErrDeviceExpired = errors.New("the code for the user has expired; start again")
)

// The steps of an [Error].
const (
	StepConfig = "config" // nothing was sent
	StepSign   = "sign"   // an assertion could not be made; nothing was sent
	StepDevice = "device" // asking for a device code
	StepShow   = "show"   // the host's function that shows the code
	StepToken  = "token"  // asking for an access token
	StepStore  = "store"  // the host's function that stores a refresh token
)

// An Error says which step failed, and what the server said.
type Error struct {
	Step string
	// Code is the server's error code, such as "invalid_grant" (RFC 6749
	// section 5.2, RFC 8628 section 3.5); "" if there was none.
	Code string
	// Description is the server's text, shortened; "" if there was none or if
	// it repeated a secret.
	Description string
	// Status is the HTTP status of the answer, 0 if there was none.
	Status int
	Err    error
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("OAuth2 " + e.Step)
	if e.Status != 0 {
		fmt.Fprintf(&b, ": HTTP %d", e.Status)
	}
	if e.Code != "" {
		b.WriteString(" " + quote(e.Code))
	}
	if e.Description != "" {
		b.WriteString(" " + quote(e.Description))
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

func wrap(kind driver.Kind, e *Error) error {
	return &driver.Error{Op: "oauth2", Kind: kind, Err: e}
}

func configError(err error) error {
	return wrap(driver.KindConfig, &Error{Step: StepConfig, Err: err})
}

// explain turns an error of the exchange into ours. Nothing of the original
// text is kept that could hold a secret.
func explain(ctx context.Context, step string, err error, secrets []string) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	e := &Error{Step: step}
	re, ok := errors.AsType[*xoauth2.RetrieveError](err)
	if !ok {
		kind := driver.KindProtocol
		var ue *url.Error
		switch {
		case ctx.Err() != nil:
			kind, e.Err = driver.KindTemporary, context.Cause(ctx)
		case errors.Is(err, driver.ErrLimit):
			e.Err = err
		case errors.As(err, &ue):
			kind, e.Err = unreachable(ue.Err), silent(ue.Err, secrets)
		default:
			// The parser's text may quote the answer.
			e.Err = errors.New("the answer is not one of RFC 6749 section 5")
		}
		return wrap(kind, e)
	}
	if re.Response != nil {
		e.Status = re.Response.StatusCode
	}
	if isCode(re.ErrorCode) && !repeats(re.ErrorCode, secrets) {
		e.Code = re.ErrorCode
	}
	if !repeats(re.ErrorDescription, secrets) {
		e.Description = re.ErrorDescription
		if len(e.Description) > maxQuoted {
			e.Description = strings.ToValidUTF8(e.Description[:maxQuoted], "") + "..."
		}
	}
	kind, cause := classify(e.Code, e.Status)
	e.Err = cause
	return wrap(kind, e)
}

// silent keeps the text of a failed connection if it is of the network, of TLS
// or ours. net/http quotes parts of an answer that is not HTTP, and of a proxy's
// refusal: either may repeat what was sent, and no search finds parts of a secret.
func silent(err error, secrets []string) error {
	if strings.Contains(err.Error(), "response headers exceeded") {
		return fmt.Errorf("the header of the answer is too long: %w", driver.ErrLimit)
	}
	inner := err
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "proxyconnect" {
		inner = op.Err // all that failed at a proxy is of that type
	}
	if known(inner) && !repeats(err.Error(), secrets) {
		return err
	}
	return errors.New("the answer is not HTTP, or a proxy refuses the connection")
}

// known tells errors of which the text is not a peer's.
func known(err error) bool {
	if driver.KindOf(err) != driver.KindUnknown || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	for _, is := range []func(error) bool{isA[net.Error], isA[*tls.CertificateVerificationError], isA[tls.RecordHeaderError], isA[tls.AlertError]} {
		if is(err) {
			return true
		}
	}
	return errors.Is(err, context.Canceled)
}

func isA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// unreachable tells what a failed connection means.
func unreachable(err error) driver.Kind {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return driver.KindPolicy
	}
	if kind := driver.KindOf(err); kind != driver.KindUnknown {
		return kind
	}
	return driver.KindTemporary
}

// classify tells what the code of an answer means for the caller.
func classify(code string, status int) (driver.Kind, error) {
	switch code {
	case "invalid_grant", "interaction_required", "consent_required", "login_required":
		return driver.KindAuth, ErrGrantRefused
	case "invalid_client", "unauthorized_client":
		return driver.KindAuth, ErrClientRefused
	case "access_denied", "authorization_declined":
		return driver.KindAuth, ErrDenied
	case "expired_token", "code_expired":
		return driver.KindAuth, ErrDeviceExpired
	case "invalid_request", "invalid_scope", "invalid_target", "unsupported_grant_type":
		return driver.KindConfig, nil
	case "temporarily_unavailable", "server_error", codePending, codeSlowDown:
		return driver.KindTemporary, nil
	}
	switch {
	case status >= 500, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
		return driver.KindTemporary, nil
	case status >= 300 && status < 400:
		return driver.KindPolicy, errors.New("the server redirects; credentials are not sent elsewhere")
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return driver.KindAuth, ErrClientRefused
	case code == "" && status == http.StatusNotFound:
		return driver.KindConfig, errors.New("there is no token endpoint")
	}
	return driver.KindProtocol, nil
}

// isCode checks the grammar of RFC 6749 section 5.2.
func isCode(s string) bool {
	return len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' })
}

// repeats reports whether text shows one of the secrets, plain or encoded.
func repeats(text string, secrets []string) bool {
	for _, s := range secrets {
		if s == "" {
			continue
		}
		b := []byte(s)
		for _, form := range []string{
			s, url.QueryEscape(s), url.PathEscape(s), strings.Trim(strconv.Quote(s), `"`), strings.Trim(strconv.QuoteToASCII(s), `"`),
			strings.TrimRight(base64.StdEncoding.EncodeToString(b), "="),
			strings.TrimRight(base64.URLEncoding.EncodeToString(b), "="),
			fmt.Sprintf("%x", b), fmt.Sprintf("%X", b),
		} {
			if strings.Contains(text, form) {
				return true
			}
		}
	}
	return false
}

// maxQuoted is how much of a server's text an error shows, in bytes.
const maxQuoted = 256

func quote(s string) string {
	if len(s) > maxQuoted+len("...") {
		s = s[:maxQuoted] + "..."
	}
	return strconv.QuoteToASCII(s)
}
