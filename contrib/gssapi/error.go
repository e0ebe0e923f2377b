package gssapi

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jcmturner/gokrb5/v8/iana/errorcode"
	"github.com/jcmturner/gokrb5/v8/messages"

	"github.com/maildriver/maildriver/driver"
)

// Errors that hosts test with errors.Is.
var (
	// ErrWrongPassword says that the password or the key of the keytab is not
	// that of the principal.
	ErrWrongPassword = errors.New("wrong password or key")
	// ErrUnknownPrincipal says that the KDC does not know who logs in.
	ErrUnknownPrincipal = errors.New("the KDC does not know the principal")
	// ErrAccount says that the account, or its password, is locked, has ended
	// or may not do this.
	ErrAccount = errors.New("the account or its password is locked or has ended")
	// ErrUnknownService says that the KDC does not know the service at this
	// host: the host name is not the one the service is registered under.
	ErrUnknownService = errors.New("the KDC does not know the service; check the host name")
	// ErrExpired says that a ticket has ended; a credential cache needs kinit.
	ErrExpired = errors.New("the ticket has ended")
	// ErrClockSkew says that the clocks of this machine and the KDC or server
	// differ by more than is allowed (five minutes as a rule).
	ErrClockSkew = errors.New("the clocks differ by too much")
	// ErrUnreachable says that no KDC of the realm answered.
	ErrUnreachable = errors.New("no KDC answered")
	// ErrServer says that the server could not prove itself, or that it broke
	// the protocol.
	ErrServer = errors.New("the server did not prove itself")
)

// The steps of an [Error].
const (
	StepConfig      = "config"      // krb5.conf, principal; nothing was sent
	StepCredentials = "credentials" // password, keytab, cache; nothing was sent
	StepLogin       = "login"       // asking for the ticket-granting ticket (AS)
	StepService     = "service"     // asking for the service's ticket (TGS)
	StepRenew       = "renew"       // renewing the ticket-granting ticket
	StepContext     = "context"     // the exchange with the server
	StepWrap        = "wrap"        // GSS_Wrap and GSS_Unwrap
)

// An Error says which step failed for whom.
type Error struct {
	Step string
	// Name is the principal, service or file concerned; "" for none.
	Name string
	// Code is that of the KDC's or server's KRB-ERROR (RFC 4120 section 7.5.9),
	// 0 if there was none.
	Code int32
	// Text is what came with it, shortened.
	Text string
	Err  error
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("Kerberos " + e.Step)
	if e.Name != "" {
		b.WriteString(" " + quote(e.Name))
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	if e.Code != 0 {
		name, _, _ := strings.Cut(strings.TrimPrefix(errorcode.Lookup(e.Code), fmt.Sprintf("(%d) ", e.Code)), " ")
		fmt.Fprintf(&b, " (%s, %d", name, e.Code)
		if e.Text != "" {
			b.WriteString(", " + quote(e.Text))
		}
		b.WriteString(")")
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

func wrap(kind driver.Kind, e *Error) error {
	return &driver.Error{Op: "kerberos", Kind: kind, Err: e}
}

func fail(kind driver.Kind, step, name string, err error) error {
	return wrap(kind, &Error{Step: step, Name: name, Err: err})
}

func failf(kind driver.Kind, step, name, format string, args ...any) error {
	return fail(kind, step, name, fmt.Errorf(format, args...))
}

// contextError tells why waiting was ended.
func contextError(ctx context.Context, step, name string) error {
	return fail(driver.KindTemporary, step, name, context.Cause(ctx))
}

// kdcError explains a KRB-ERROR.
func kdcError(step, name string, k *messages.KRBError) error {
	e := &Error{Step: step, Name: name, Code: k.ErrorCode, Text: shorten(k.EText)}
	kind := driver.KindAuth
	switch k.ErrorCode {
	case errorcode.KDC_ERR_C_PRINCIPAL_UNKNOWN, errorcode.KDC_ERR_WRONG_REALM:
		e.Err = ErrUnknownPrincipal
	case errorcode.KDC_ERR_PREAUTH_FAILED, errorcode.KRB_AP_ERR_BAD_INTEGRITY:
		e.Err = ErrWrongPassword
		if step != StepLogin {
			kind, e.Err = driver.KindTemporary, errors.New("the ticket is not for this key")
		}
	case errorcode.KDC_ERR_S_PRINCIPAL_UNKNOWN, errorcode.KDC_ERR_MUST_USE_USER2USER, errorcode.KRB_AP_ERR_NOT_US:
		kind, e.Err = driver.KindConfig, ErrUnknownService
	case errorcode.KDC_ERR_NAME_EXP, errorcode.KDC_ERR_POLICY, errorcode.KDC_ERR_CLIENT_REVOKED,
		errorcode.KDC_ERR_CLIENT_NOTYET, errorcode.KDC_ERR_KEY_EXPIRED:
		e.Err = ErrAccount
	case errorcode.KRB_AP_ERR_TKT_EXPIRED, errorcode.KDC_ERR_TGT_REVOKED:
		e.Err = ErrExpired
	case errorcode.KRB_AP_ERR_SKEW, errorcode.KRB_AP_ERR_TKT_NYV, errorcode.KDC_ERR_CANNOT_POSTDATE:
		kind, e.Err = driver.KindLocal, ErrClockSkew
	case errorcode.KDC_ERR_ETYPE_NOSUPP:
		kind, e.Err = driver.KindConfig, errors.New("no encryption type in common")
	case errorcode.KDC_ERR_SVC_UNAVAILABLE, errorcode.KRB_AP_ERR_REPEAT:
		kind, e.Err = driver.KindTemporary, errors.New("refused for now")
	default:
		e.Err = errors.New("refused")
	}
	return wrap(kind, e)
}

// errMalformed is a message that can't be parsed. The parser's own words may
// quote keys.
var errMalformed = errors.New("malformed message")

// guard runs code of gokrb5 on bytes of others: it indexes what it did not
// measure in places.
func guard[T any](f func() (T, error)) (v T, err error) {
	defer func() {
		if recover() != nil {
			err = errMalformed
		}
	}()
	return f()
}

// maxQuoted is how much of a peer's text an error shows, in bytes.
const maxQuoted = 256

func shorten(s string) string {
	if len(s) > maxQuoted {
		return strings.ToValidUTF8(s[:maxQuoted], "") + "..."
	}
	return s
}

func quote(s string) string { return strconv.QuoteToASCII(shorten(s)) }
