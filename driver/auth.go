package driver

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Credentials holds what logins need apart from user and password. A copy
// shares the token store, which is what keeps one token for all sessions.
type Credentials struct {
	// Tokens gives OAuth2 access tokens; nil means none.
	Tokens *TokenStore
	// Negotiator does Kerberos; nil means none.
	Negotiator Negotiator
	// Domain is the NTLM domain of the user; "" leaves the server to know it.
	Domain string
	// Workstation is the name of this machine that NTLM tells; "" tells none.
	Workstation string
	// SPN is the service principal name that NTLM and Kerberos ask for, such as
	// "imap/mail.example.com"; "" means the protocol's service at the server's
	// name.
	SPN string
	// Custom has the mechanisms of [WithMechanism], by upper-case name.
	Custom map[string]func() Mechanism
}

// A Negotiator makes GSS-API security contexts, for the mechanism GSSAPI (RFC
// 4752) and for HTTP Negotiate (RFC 4559). contrib/gssapi has one that speaks
// Kerberos 5. It must be safe for many goroutines at once.
type Negotiator interface {
	// Start begins a context with the service (such as "imap", "smtp", "pop" or
	// "HTTP") at a host. Implementers
	//   - ask for mutual authentication and integrity, never for delegation,
	//   - bind the context to channelBinding, the application data of RFC 5056
	//     with its prefix ("tls-server-end-point:" and the hash), nil for none,
	//   - return when ctx ends,
	//   - name the step that failed in the error, and no secret.
	Start(ctx context.Context, service, host string, channelBinding []byte) (SecurityContext, error)
}

// A SecurityContext is one GSS-API context under way, used by one goroutine.
type SecurityContext interface {
	// Step answers the peer's token; in is nil at the first call. An empty out
	// means that nothing is to be sent. done means that the context is
	// established and the peer has proved itself; Step is not called after that.
	Step(in []byte) (out []byte, done bool, err error)
	// Wrap protects a message with integrity, without confidentiality
	// (GSS_Wrap with conf_flag FALSE).
	Wrap(message []byte) ([]byte, error)
	// Unwrap checks a token of the peer's GSS_Wrap and gives its message. A
	// token that fails the check is an error.
	Unwrap(token []byte) ([]byte, error)
	// Close forgets the keys.
	Close() error
}

// WithTokenSource logs in with OAuth2 access tokens (mechanisms OAUTHBEARER and
// XOAUTH2; Bearer over HTTP). The user of [WithLogin] may come with an empty
// password. One [TokenStore] around the source serves all sessions of the
// driver that gets the option. Tokens go to the server of the driver alone, and
// only in TLS, unless [WithInsecureAuth] permits otherwise and
// [WithMechanisms] names the mechanism.
func WithTokenSource(source TokenSource) Option {
	store := NewTokenStore(source)
	return netOption("TokenSource", func(n *Network) error {
		if source == nil {
			return errors.New("the function is nil")
		}
		n.Tokens = store
		return nil
	})
}

// WithNegotiator logs in with Kerberos (mechanism GSSAPI; Negotiate over HTTP).
func WithNegotiator(neg Negotiator) Option {
	return netOption("Negotiator", func(n *Network) error {
		if neg == nil {
			return errors.New("the negotiator is nil")
		}
		n.Negotiator = neg
		return nil
	})
}

// WithDomain sets the NTLM domain of the user. A user of the form DOMAIN\name
// brings his own.
func WithDomain(domain string) Option {
	return netOption("Domain", func(n *Network) error { return setName(&n.Domain, domain) })
}

// WithWorkstation sets the machine name that NTLM tells the server; by default
// none.
func WithWorkstation(name string) Option {
	return netOption("Workstation", func(n *Network) error { return setName(&n.Workstation, name) })
}

// WithSPN sets the service principal name that NTLM and Kerberos ask for, such
// as "imap/mail.example.com"; by default the protocol's service at the server's
// name.
func WithSPN(spn string) Option {
	return netOption("SPN", func(n *Network) error {
		if service, host, ok := strings.Cut(spn, "/"); !ok || service == "" || host == "" {
			return fmt.Errorf("%q is not of the form service/host", spn)
		}
		return setName(&n.SPN, spn)
	})
}

func setName(to *string, name string) error {
	if name == "" {
		return errors.New("the name is empty")
	}
	if len(name) > maxName {
		return fmt.Errorf("longer than %d bytes", maxName)
	}
	if strings.ContainsFunc(name, isControl) {
		return errors.New("the name holds a control character")
	}
	*to = name
	return nil
}

// maxName is more than DNS (255) and NetBIOS (15) allow for any name.
const maxName = 512
