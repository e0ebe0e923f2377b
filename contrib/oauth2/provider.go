package oauth2

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/maildriver/maildriver/driver"
)

// A Provider is what must be known of a mail provider, as data; a host may
// write its own, from a file for instance. It is only read.
type Provider struct {
	Name string
	// TokenURL and DeviceURL are the endpoints; "{tenant}" stands for the
	// customer's tenant. An empty DeviceURL means that the provider does not
	// give access to mail by a device flow.
	TokenURL, DeviceURL string
	// User and Service give the scopes for a protocol, for flows with a user
	// and for services without. A protocol that is not there can't be had.
	User, Service map[string][]string
	// SecretInHeader is that of [Config].
	SecretInHeader bool
}

// Protocols, as the keys of [Provider] name them.
const (
	IMAP = "IMAP"
	POP3 = "POP3"
	SMTP = "SMTP"
	EWS  = "EWS"
)

// Microsoft365 is Microsoft 365 in the world-wide cloud. The tenant is its id or
// one of its domains; for users also "common", "organizations" or "consumers".
// Services also need an administrator's consent, and in Exchange Online a
// service principal with access to the mailbox.
var Microsoft365 = Provider{
	Name:      "Microsoft 365",
	TokenURL:  "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token",
	DeviceURL: "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/devicecode",
	User: map[string][]string{
		IMAP: {"https://outlook.office.com/IMAP.AccessAsUser.All", "offline_access"},
		POP3: {"https://outlook.office.com/POP.AccessAsUser.All", "offline_access"},
		SMTP: {"https://outlook.office.com/SMTP.Send", "offline_access"},
		EWS:  {"https://outlook.office365.com/EWS.AccessAsUser.All", "offline_access"},
	},
	Service: map[string][]string{
		IMAP: {"https://outlook.office365.com/.default"},
		POP3: {"https://outlook.office365.com/.default"},
		SMTP: {"https://outlook.office365.com/.default"},
		EWS:  {"https://outlook.office365.com/.default"},
	},
}

// Google is Gmail and Google Workspace. Its device flow has no scope for mail:
// a refresh token must come from the flow with a browser on the same machine.
// Services use [Config.ServiceAccount].
var Google = Provider{
	Name:     "Google",
	TokenURL: "https://oauth2.googleapis.com/token",
	User: map[string][]string{
		IMAP: {"https://mail.google.com/"},
		POP3: {"https://mail.google.com/"},
		SMTP: {"https://mail.google.com/"},
	},
	Service: map[string][]string{
		IMAP: {"https://mail.google.com/"},
		POP3: {"https://mail.google.com/"},
		SMTP: {"https://mail.google.com/"},
	},
}

// ForUser makes the configuration of a flow with a user, for the protocols
// that one token shall open. tenant is "" where the provider has none.
func (p Provider) ForUser(tenant, clientID string, secret driver.Secret, protocols ...string) (Config, error) {
	return p.config(p.User, tenant, clientID, secret, protocols)
}

// ForService makes the configuration of a flow without a user. For
// [Config.ServiceAccount] clientID and secret are empty.
func (p Provider) ForService(tenant, clientID string, secret driver.Secret, protocols ...string) (Config, error) {
	return p.config(p.Service, tenant, clientID, secret, protocols)
}

func (p Provider) config(scopes map[string][]string, tenant, clientID string, secret driver.Secret, protocols []string) (Config, error) {
	c := Config{
		TokenURL: p.fill(p.TokenURL, tenant), DeviceURL: p.fill(p.DeviceURL, tenant),
		ClientID: clientID, Secret: secret, SecretInHeader: p.SecretInHeader,
	}
	var errs []error
	if hasTenant := strings.Contains(p.TokenURL, tenantMark); hasTenant != (tenant != "") {
		errs = append(errs, map[bool]error{true: errors.New("the tenant is empty"), false: errors.New("there are no tenants")}[hasTenant])
	}
	if strings.ContainsAny(tenant, `/?#\{} `) {
		errs = append(errs, fmt.Errorf("%s is not a tenant", quote(tenant)))
	}
	if len(protocols) == 0 {
		errs = append(errs, errors.New("no protocol is named"))
	}
	for _, proto := range protocols {
		list, ok := scopes[proto]
		if !ok {
			errs = append(errs, fmt.Errorf("%s is not one of %s", quote(proto), strings.Join(slices.Sorted(maps.Keys(scopes)), ", ")))
		}
		for _, s := range list {
			if !slices.Contains(c.Scopes, s) {
				c.Scopes = append(c.Scopes, s)
			}
		}
	}
	if err := oneResource(c.Scopes); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return Config{}, configError(fmt.Errorf("%s: %w", p.Name, errors.Join(errs...)))
	}
	return c, nil
}

const tenantMark = "{tenant}"

func (p Provider) fill(text, tenant string) string {
	return strings.ReplaceAll(text, tenantMark, url.PathEscape(tenant))
}

// oneResource finds scopes that no single token can have: servers issue one for
// one resource.
func oneResource(scopes []string) error {
	host := ""
	for _, s := range scopes {
		u, err := url.Parse(s)
		if err != nil || u.Host == "" {
			continue
		}
		if host != "" && u.Host != host {
			return fmt.Errorf("%s and %s need a token each", host, u.Host)
		}
		host = u.Host
	}
	return nil
}
