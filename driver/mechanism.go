package driver

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Mechanism is the client half of a SASL mechanism (RFC 4422), for one login
// and one goroutine.
type Mechanism interface {
	// Start gives the initial response; nil if the server speaks first, empty
	// and not nil for an empty one.
	Start() (response []byte, err error)
	// Next answers a challenge. A nil response is an empty one. An error
	// cancels the login; it must hold no secret.
	Next(challenge []byte) (response []byte, err error)
}

// WithMechanism adds a SASL mechanism that this module does not have, or
// replaces one that it has. It is used where the server offers it and
// [WithMechanisms] names it, and as nobody here knows what it tells, only in TLS
// unless [WithInsecureAuth] permits otherwise. make is called for each login and
// must be safe for many goroutines at once.
func WithMechanism(name string, make func() Mechanism) Option {
	return netOption("Mechanism", func(n *Network) error {
		if err := checkMechanism(name); err != nil {
			return err
		}
		if make == nil {
			return errors.New("the function is nil")
		}
		custom := maps.Clone(n.Custom)
		if custom == nil {
			custom = map[string]func() Mechanism{}
		}
		custom[strings.ToUpper(name)] = make
		n.Custom = custom
		return nil
	})
}

// mechanismNames are the names of the documents and those of IANA, written as
// [ParamKey] does, and what they stand for.
var mechanismNames = map[string][]string{
	"plain": {"PLAIN"}, "login": {"LOGIN"}, "external": {"EXTERNAL"},
	"crammd5": {"CRAM-MD5"}, "digestmd5": {"DIGEST-MD5"},
	"scramsha1": {"SCRAM-SHA-1"}, "scramsha1plus": {"SCRAM-SHA-1-PLUS"},
	"scramsha256": {"SCRAM-SHA-256"}, "scramsha256plus": {"SCRAM-SHA-256-PLUS"},
	"ntlm": {"NTLM"}, "gssapi": {"GSSAPI"}, "gossipy": {"GSSAPI"},
	"oauth20": {"OAUTHBEARER", "XOAUTH2"}, "oauth2": {"OAUTHBEARER", "XOAUTH2"},
	"oauthbearer": {"OAUTHBEARER"}, "xoauth2": {"XOAUTH2"},
	"cleartext": {"CLEARTEXT"}, "user": {"USER"}, "apop": {"APOP"},
}

// MechanismsOf gives the mechanisms that a name of the documents or of IANA
// stands for, in upper case: DigestMD5 is DIGEST-MD5, OAuth20 is OAUTHBEARER and
// XOAUTH2. Letter case, spaces, "-" and "_" do not matter. A name that is not
// known stands for itself.
func MechanismsOf(name string) []string {
	if list, ok := mechanismNames[ParamKey(name)]; ok {
		return slices.Clone(list)
	}
	return []string{strings.ToUpper(name)}
}

func checkMechanism(name string) error {
	if name == "" || len(name) > maxMechanism || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%.50q is not a mechanism name", name)
	}
	return nil
}

// maxMechanism bounds a name; RFC 4422 section 3.1 gives it 20 characters, the
// documents' own are not held to that.
const maxMechanism = 40

// A MechanismError says that client and server share no way to log in. Nothing
// was sent that tells the password.
type MechanismError struct {
	// Wanted is what would have been used, in order.
	Wanted []string
	// Offered is what the server offers here.
	Offered []string
	// Unknown is what was asked for by name and this module does not have.
	Unknown []string
	// Lacking tells what is missing for mechanisms that the server offers and
	// that were wanted, such as "GSSAPI needs driver.WithNegotiator".
	Lacking []string
}

func (e *MechanismError) Error() string {
	offered := "no mechanism"
	if len(e.Offered) > 0 {
		offered = quoteShort(strings.Join(e.Offered, " "))
	}
	var b strings.Builder
	if wanted := strings.Join(e.Wanted, ", "); len(e.Lacking) == 0 {
		fmt.Fprintf(&b, "the server offers none of %s; it offers %s", wanted, offered)
	} else {
		fmt.Fprintf(&b, "none of %s can be used; the server offers %s", wanted, offered)
	}
	if len(e.Unknown) > 0 {
		fmt.Fprintf(&b, "; not known here: %s (driver.WithMechanism adds it)", strings.Join(e.Unknown, ", "))
	}
	for _, l := range e.Lacking {
		b.WriteString("; ")
		b.WriteString(l)
	}
	return b.String()
}

// ErrServerProof says that the server did not prove that it knows the password
// too (SCRAM, DIGEST-MD5): it is not the server of the account, or the account's
// data there is damaged. Whether it would let us in does not matter then.
var ErrServerProof = errors.New("the server's proof of identity is missing or wrong")

// A TokenError says that the server refused an access token, and why as far as
// it told (RFC 7628 section 3.2.2). A fresh token was tried before this error, if
// the source had one.
type TokenError struct {
	// Mechanism is OAUTHBEARER or XOAUTH2.
	Mechanism string
	// Status is the server's, such as "invalid_token" or "401"; "" if it told
	// none.
	Status string
	// Scope is what a token needs by the server's word; "" if it told none.
	Scope string
	// Err is the server's reply.
	Err error
}

func (e *TokenError) Error() string {
	s := e.Mechanism + ": the server refuses the access token"
	if e.Status != "" {
		s += " with status " + quoteShort(e.Status)
	}
	if e.Scope != "" {
		s += ", a token needs the scope " + quoteShort(e.Scope)
	}
	return s + "; it may have ended, or be for another user, scope or server: " + e.Err.Error()
}

func (e *TokenError) Unwrap() error { return e.Err }

// quoteShort quotes what a server said, and cuts it.
func quoteShort(s string) string {
	const limit = 200
	if len(s) > limit {
		return fmt.Sprintf("%q (cut)", s[:limit])
	}
	return fmt.Sprintf("%q", s)
}
