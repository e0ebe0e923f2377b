package ews

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/netx"
)

// microsoftHosts answer for Exchange Online, in the world and in the national
// clouds. Tokens of it are made for them.
var microsoftHosts = []string{
	"outlook.office365.com", "outlook.office.com", "autodiscover-s.outlook.com",
	"outlook.office365.us", "autodiscover-s.office365.us", "outlook-dod.office365.us", "autodiscover-s-dod.office365.us",
	"partner.outlook.cn", "autodiscover-s.partner.outlook.cn",
}

// names reports whether u is at the host that was given to [New].
func (o *options) names(u *url.URL) bool {
	return o.named != nil && strings.EqualFold(o.named.Hostname(), u.Hostname())
}

// at gives the network options for one server. The permission to take any
// certificate, and the name that it must have, are for the host that was given
// to [New], and for none that was found or that a server has named.
func (o *options) at(u *url.URL) driver.Network {
	n := o.net
	if !o.names(u) {
		n.InsecureSkipVerify, n.ServerName = false, ""
	}
	return n
}

// tokens reports whether the login may be one by token.
func (o *options) tokens() bool {
	return o.net.Tokens != nil && (len(o.net.Mechanisms) == 0 || slices.Contains(o.net.Mechanisms, "BEARER"))
}

// mayHaveToken reports whether a token may be sent to a server that Autodiscover
// has found: whoever has a token has the mailbox, so that the word of a web
// server in the mail domain does not do (RFC 9700 section 4.9).
func (o *options) mayHaveToken(u *url.URL) bool {
	return o.names(u) || u.Scheme == "https" && (u.Port() == "" || u.Port() == "443") && slices.Contains(microsoftHosts, strings.ToLower(u.Hostname()))
}

// A said is an error whose text has been made fit to be shown.
type said struct {
	text string
	err  error
}

func (e *said) Error() string { return e.text }
func (e *said) Unwrap() error { return e.err }

// cleaned takes the secrets of the account out of what err has from a server,
// and bounds that. It must be given the texts whole: half a secret is not found.
func cleaned(err error, scrub func(string) string) error {
	re, isResponse := errors.AsType[*ResponseError](err)
	if isResponse {
		re.Code, re.Text = cleanCode(re.Code, scrub), shorten(scrub(re.Text))
	}
	rd, isRedirect := errors.AsType[*RedirectError](err)
	if isRedirect {
		rd.From, rd.Target = scrub(rd.From), scrub(rd.Target)
	}
	if isResponse || isRedirect || err == nil || errors.As(err, new(*driver.Error)) {
		return err
	}
	text := err.Error()
	if clean := scrub(text); clean != text || len(text) > maxText || strings.ContainsFunc(text, isControl) {
		return &said{netx.Quote(clean), err}
	}
	return err
}

// cleanCode leaves the words of the protocol as they are, whatever the password.
func cleanCode(code string, scrub func(string) string) string {
	if _, known := codeKinds[code]; known || busyCodes[code] || otherCodes[code] {
		return code
	}
	return shorten(scrub(code))
}

// otherCodes decide what is done, and are in no other table.
var otherCodes = map[string]bool{
	"ErrorBatchProcessingStopped": true, "ErrorInternalServerError": true, "ErrorMailboxMoveInProgress": true, "ErrorInvalidSyncStateData": true,
	"ErrorInvalidSchemaVersionForMailboxVersion": true, "ErrorIncorrectSchemaVersion": true, "ErrorSyncFolderNotFound": true,
	"ErrorChangeKeyRequiredForWriteOperations": true, "ErrorChangeKeyRequired": true, "ErrorStaleObject": true, "ErrorIrresolvableConflict": true,
	"ErrorSubscriptionNotFound": true, "ErrorInvalidSubscription": true, "ErrorMissedNotificationEvents": true, "ErrorSubscriptionUnsubscribed": true, "ErrorReadEventsFailed": true,
}

// responseError makes an error of what a server said to a request.
func (s *session) responseError(e ResponseError) *ResponseError {
	_ = cleaned(&e, s.client.Scrub)
	return &e
}

// mayRepeatSend reports answers that leave no doubt that a message was not
// taken, and that a later try may find otherwise.
func mayRepeatSend(re *ResponseError, inner string) bool {
	return re.Code == "ErrorServerBusy" || inner == "ErrorServerBusy" ||
		re.Code == "" && (re.Status == http.StatusServiceUnavailable || re.Status == http.StatusTooManyRequests)
}

// noAnswer reports answers that are none of Exchange and say nothing of what
// became of a message: a gateway gave up waiting.
func noAnswer(re *ResponseError) bool {
	switch re.Status {
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout:
		return re.Code == ""
	}
	return false
}
