package ews

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/httpx"
	"github.com/maildriver/maildriver/internal/netx"
)

// Errors that hosts test with errors.Is.
var (
	// ErrFolderNotFound says that a part of a folder path is not there.
	ErrFolderNotFound = errors.New("folder not found")
	// ErrFolderAmbiguous says that several folders bear the name of a path's
	// part.
	ErrFolderAmbiguous = errors.New("folder name is ambiguous")
	// ErrVersion says that the server is too old for what was asked for.
	ErrVersion = errors.New("the server's version is too old")
	// ErrRedirect says that a server sent us to another one, and that
	// [WithAllowRedirection] does not permit to follow; see [RedirectError].
	ErrRedirect = errors.New("redirection refused")
	// ErrAutodiscover says that no Autodiscover service gave an address.
	ErrAutodiscover = errors.New("autodiscover found no Exchange Web Services")
	// ErrTenantBlocked says that Exchange Online refuses Exchange Web Services
	// for this organisation or application. Microsoft retires them: from
	// 2026-10-01 a tenant has to permit them with EWSEnabled and a list of
	// applications, from 2027-04-01 they are gone. Servers on the premises are
	// not concerned.
	//
	//lint:ignore ST1005 it begins with a name
	ErrTenantBlocked = errors.New("Exchange Online refuses Exchange Web Services for this organisation: they are being retired, see EWSEnabled and EWSAllowedAppIDs of Set-OrganizationConfig")
	// ErrEnvelope says that the header of a message names receivers that are
	// not among its recipients; see [Driver.Send].
	ErrEnvelope = errors.New("the header names receivers that are no recipients of the message, and Exchange sends to all of them")
)

// A ResponseError is an error that the server reported. It is found in the
// errors of this package with errors.As.
type ResponseError struct {
	// Operation is what was asked for, "FindItem", or "Autodiscover".
	Operation string
	// Code is the server's word, "ErrorItemNotFound"; it is never localised. ""
	// if the HTTP status is all that came.
	Code string
	// Status is the HTTP status. 200 is usual: most errors come inside an
	// answer that is fine for HTTP.
	Status int
	// Text is what the server said about it, in a language of its choice,
	// shortened and otherwise as it came.
	Text string
	// RequestID is the client-request-id that the server's logs know the
	// request by.
	RequestID string
	// BackOff is how long the server wants to be left alone; 0 if it did not
	// say.
	BackOff time.Duration
}

func (e *ResponseError) Error() string {
	var b strings.Builder
	b.WriteString(e.Operation)
	b.WriteString(": ")
	if e.Code != "" {
		b.WriteString(netx.Quote(e.Code))
	}
	if e.Status != http.StatusOK || e.Code == "" {
		if e.Code != "" {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "HTTP status %d", e.Status)
	}
	if e.Text != "" {
		b.WriteString(" " + netx.Quote(e.Text))
	}
	if e.RequestID != "" {
		b.WriteString(" (client-request-id " + e.RequestID + ")")
	}
	return b.String()
}

// A RedirectError tells where a server wanted to send us. It is [ErrRedirect].
// Nothing was sent to the target.
type RedirectError struct {
	// From is the address that was asked, Target where it pointed: a URL, or an
	// e-mail address.
	From, Target string
	// Why is the rule that forbids to follow.
	Why string
}

func (e *RedirectError) Error() string {
	return fmt.Sprintf("%v: from %s to %s: %s", ErrRedirect, netx.Quote(e.From), netx.Quote(e.Target), e.Why)
}

// Is makes the error [ErrRedirect].
func (e *RedirectError) Is(target error) bool { return target == ErrRedirect }

// maxText is how much of a server's text an error keeps.
const maxText = 512

func shorten(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "")
}

// meanings of the response codes that are not temporary or that are dealt with.
var codeKinds = map[string]driver.Kind{
	"ErrorAccessDenied":                           driver.KindPermanent,
	"ErrorAccountDisabled":                        driver.KindAuth,
	"ErrorArchiveMailboxNotEnabled":               driver.KindPermanent,
	"ErrorCannotDeleteObject":                     driver.KindPermanent,
	"ErrorFolderNotFound":                         driver.KindPermanent,
	"ErrorParentFolderNotFound":                   driver.KindPermanent,
	"ErrorToFolderNotFound":                       driver.KindPermanent,
	"ErrorImpersonateUserDenied":                  driver.KindPermanent,
	"ErrorImpersonationDenied":                    driver.KindPermanent,
	"ErrorImpersonationFailed":                    driver.KindPermanent,
	"ErrorInvalidIdMalformed":                     driver.KindPermanent,
	"ErrorInvalidRecipients":                      driver.KindPermanent,
	"ErrorInvalidRequest":                         driver.KindPermanent,
	"ErrorInvalidServerVersion":                   driver.KindPermanent,
	"ErrorInvalidSmtpAddress":                     driver.KindPermanent,
	"ErrorItemNotFound":                           driver.KindPermanent,
	"ErrorMailRecipientNotFound":                  driver.KindPermanent,
	"ErrorMessageSizeExceeded":                    driver.KindPermanent,
	"ErrorMissingRecipients":                      driver.KindPermanent,
	"ErrorNonExistentMailbox":                     driver.KindPermanent,
	"ErrorPasswordExpired":                        driver.KindAuth,
	"ErrorPasswordChangeRequired":                 driver.KindAuth,
	"ErrorQuotaExceeded":                          driver.KindPermanent,
	"ErrorSchemaValidation":                       driver.KindPermanent,
	"ErrorSendAsDenied":                           driver.KindPermanent,
	"ErrorUnsupportedMimeConversion":              driver.KindPermanent,
	"ErrorTokenSerializationDenied":               driver.KindAuth,
	"ErrorInvalidChangeKey":                       driver.KindPermanent,
	"ErrorContentConversionFailed":                driver.KindPermanent,
	"ErrorMimeContentConversionFailed":            driver.KindPermanent,
	"ErrorMimeContentInvalid":                     driver.KindPermanent,
	"ErrorMimeContentInvalidBase64String":         driver.KindPermanent,
	"ErrorItemCorrupt":                            driver.KindPermanent,
	"ErrorCorruptData":                            driver.KindPermanent,
	"ErrorInvalidSendItemSaveSettings":            driver.KindPermanent,
	"ErrorInvalidFolderId":                        driver.KindPermanent,
	"ErrorInvalidMailboxItemId":                   driver.KindPermanent,
	"ErrorInvalidOperation":                       driver.KindPermanent,
	"ErrorNoFolderClassOverride":                  driver.KindPermanent,
	"ErrorInvalidSubscriptionRequest":             driver.KindPermanent,
	"ErrorSubscriptionAccessDenied":               driver.KindPermanent,
	"ErrorMoveCopyFailed":                         driver.KindPermanent,
	"ErrorCannotSetNonCalendarPermission":         driver.KindPermanent,
	"ErrorNameResolutionNoMailbox":                driver.KindPermanent,
	"ErrorMissingEmailAddress":                    driver.KindPermanent,
	"ErrorMissingInformationEmailAddress":         driver.KindPermanent,
	"ErrorInvalidExchangeImpersonationHeaderData": driver.KindPermanent,
}

// busyCodes ask to be left alone for a while.
var busyCodes = map[string]bool{
	"ErrorServerBusy":                     true,
	"ErrorInternalServerTransientError":   true,
	"ErrorMailboxStoreUnavailable":        true,
	"ErrorMailboxFailover":                true,
	"ErrorTooManyObjectsOpened":           true,
	"ErrorTimeoutExpired":                 true,
	"ErrorExceededConnectionCount":        true,
	"ErrorConnectionFailed":               true,
	"ErrorConnectionFailedTransientError": true,
}

func (e *ResponseError) kind() driver.Kind {
	if k, ok := codeKinds[e.Code]; ok {
		return k
	}
	switch {
	case e.Code != "":
		return driver.KindTemporary
	case e.Status == http.StatusUnauthorized:
		return driver.KindAuth
	case e.Status == http.StatusForbidden, e.Status == http.StatusNotFound, e.Status == http.StatusMethodNotAllowed,
		e.Status == http.StatusGone, e.Status == http.StatusRequestEntityTooLarge:
		return driver.KindPermanent
	}
	return driver.KindTemporary
}

func (e *ResponseError) busy() bool {
	return busyCodes[e.Code] || e.BackOff > 0 ||
		e.Code == "" && (e.Status == http.StatusServiceUnavailable || e.Status == http.StatusTooManyRequests)
}

// codeOf gives the response code in err, "" if there is none.
func codeOf(err error) string {
	if re, ok := errors.AsType[*ResponseError](err); ok {
		return re.Code
	}
	return ""
}

// conflict reports codes that a new change key may heal.
func conflict(code string) bool {
	return code == "ErrorChangeKeyRequiredForWriteOperations" || code == "ErrorChangeKeyRequired" ||
		code == "ErrorStaleObject" || code == "ErrorIrresolvableConflict"
}

// wrap makes err an error of the driver. One that is already stays as it is.
func wrap(op, addr string, kind driver.Kind, err error) error {
	if err == nil {
		return nil
	}
	if de, ok := errors.AsType[*driver.Error](err); ok && de.Driver != "" {
		return err
	}
	return &driver.Error{Op: op, Driver: driverName, Addr: addr, Kind: kind, Err: err}
}

// statusOf gives the HTTP status that ended a step below, 0 if none did.
func statusOf(err error) int {
	if se, ok := errors.AsType[*httpx.StatusError](err); ok {
		return se.Status
	}
	if re, ok := errors.AsType[*ResponseError](err); ok && re.Code == "" {
		return re.Status
	}
	return 0
}
