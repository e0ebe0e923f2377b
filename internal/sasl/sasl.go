// Package sasl holds the login mechanisms and the one exchange that SMTP, POP3
// and IMAP share (RFC 4422). A protocol gives a [Conversation], and the
// exchange succeeds only with that protocol's own success reply.
package sasl

import (
	"fmt"
	"slices"
	"strings"

	gosasl "github.com/emersion/go-sasl"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/netx"
)

// A Client is the client half of a mechanism, for one exchange. It is the
// Client of go-sasl.
type Client interface {
	// Start gives the mechanism's name and the initial response, nil if the
	// server speaks first.
	Start() (mech string, ir []byte, err error)
	// Next answers a challenge. An empty answer is a non-nil empty slice.
	Next(challenge []byte) (response []byte, err error)
}

type mechanism struct {
	name  string
	plain bool // the server, or who listens without TLS, learns the password
	make  func(n *driver.Network) Client
}

// inTLS and inClear are the written orders: the strongest first. In TLS a
// plain mechanism comes before CRAM-MD5, for which a server must keep
// passwords in clear. In clear only CRAM-MD5 hides the password.
var (
	mechanisms = []mechanism{
		{"EXTERNAL", false, func(*driver.Network) Client { return gosasl.NewExternalClient("") }},
		{"PLAIN", true, func(n *driver.Network) Client { return gosasl.NewPlainClient("", n.User, n.Password.Reveal()) }},
		{"LOGIN", true, func(n *driver.Network) Client { return &login{user: n.User, password: n.Password} }},
		{"CRAM-MD5", false, func(n *driver.Network) Client { return &cramMD5{user: n.User, password: n.Password} }},
	}
	inTLS   = []string{"PLAIN", "LOGIN", "CRAM-MD5"}
	inClear = []string{"CRAM-MD5", "PLAIN", "LOGIN"}
)

func find(name string) *mechanism {
	for i := range mechanisms {
		if mechanisms[i].name == name {
			return &mechanisms[i]
		}
	}
	return nil
}

// Known reports whether Choose can make the mechanism, by its upper-case name.
func Known(name string) bool { return find(name) != nil }

// A NoMechanismError says that client and server share no way to log in.
type NoMechanismError struct {
	Wanted  []string // what we would have used, in order
	Offered []string // what the server offers
}

func (e *NoMechanismError) Error() string {
	offered := "no mechanism"
	if len(e.Offered) > 0 {
		offered = netx.Quote(strings.Join(e.Offered, " "))
	}
	return fmt.Sprintf("the server offers none of %s; it offers %s", strings.Join(e.Wanted, ", "), offered)
}

// Choose picks the mechanism for a login with n's credentials among those that
// the server offers (any letter case).
//
//   - n.Mechanisms, if not empty, is the order of preference; names that this
//     package does not know are passed over.
//   - Else the strongest on offer: in TLS PLAIN, LOGIN, CRAM-MD5; in clear
//     CRAM-MD5, and PLAIN and LOGIN with n.AllowInsecureAuth alone. EXTERNAL is
//     used only if named.
//
// If only mechanisms that tell the password remain and the connection is in
// clear, the error is [driver.ErrInsecureAuth], of kind policy. If nothing
// remains it is a [*NoMechanismError], of kind auth.
func Choose(offered []string, n *driver.Network, tls bool) (Client, error) {
	order := n.Mechanisms
	if len(order) == 0 {
		order = inTLS
		if !tls {
			order = inClear
		}
	}
	insecure := ""
	for _, name := range order {
		m := find(name)
		if m == nil || !slices.ContainsFunc(offered, func(o string) bool { return strings.EqualFold(o, name) }) {
			continue
		}
		if m.plain && !tls && !n.AllowInsecureAuth {
			insecure = name
			continue
		}
		return m.make(n), nil
	}
	if insecure != "" {
		return nil, &driver.Error{
			Op: "auth", Kind: driver.KindPolicy,
			Err: fmt.Errorf("%w: mechanism %s", driver.ErrInsecureAuth, insecure),
		}
	}
	return nil, &driver.Error{Op: "auth", Kind: driver.KindAuth, Err: &NoMechanismError{slices.Clone(order), slices.Clone(offered)}}
}
