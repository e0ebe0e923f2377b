package oauth2_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/contrib/oauth2"
	"github.com/maildriver/maildriver/driver"
)

func TestProviders(t *testing.T) {
	secret := driver.NewSecret("hidden")
	c, err := oauth2.Microsoft365.ForUser("contoso.onmicrosoft.com", "app", secret, oauth2.IMAP, oauth2.SMTP)
	require.NoError(t, err)
	assert.Equal(t, "https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/token", c.TokenURL)
	assert.Equal(t, "https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/devicecode", c.DeviceURL)
	assert.Equal(t, []string{
		"https://outlook.office.com/IMAP.AccessAsUser.All", "offline_access", "https://outlook.office.com/SMTP.Send",
	}, c.Scopes)
	c, err = oauth2.Microsoft365.ForService("contoso.example", "app", secret, oauth2.IMAP, oauth2.EWS)
	require.NoError(t, err)
	assert.Equal(t, []string{"https://outlook.office365.com/.default"}, c.Scopes)
	_, err = c.ClientCredentials()
	require.NoError(t, err)
	c, err = oauth2.Google.ForUser("", "app", secret, oauth2.POP3, oauth2.SMTP)
	require.NoError(t, err)
	assert.Equal(t, []string{"https://mail.google.com/"}, c.Scopes)
	_, err = c.RefreshToken(driver.NewSecret("r"), nil)
	require.NoError(t, err)
	_, err = c.Device(t.Context(), nil)
	require.ErrorContains(t, err, "DeviceURL is empty")
}

func TestProviderErrors(t *testing.T) {
	m := oauth2.Microsoft365
	for name, tt := range map[string]struct {
		p         oauth2.Provider
		tenant    string
		protocols []string
		says      string
	}{
		"no tenant":    {m, "", []string{"IMAP"}, "tenant is empty"},
		"no tenants":   {oauth2.Google, "x", []string{"IMAP"}, "no tenants"},
		"path":         {m, "common/../evil", []string{"IMAP"}, "is not a tenant"},
		"query":        {m, "common?x", []string{"IMAP"}, "is not a tenant"},
		"no protocol":  {m, "common", nil, "no protocol"},
		"unknown":      {m, "common", []string{"NNTP"}, `"NNTP" is not one of EWS, IMAP, POP3, SMTP`},
		"Google's EWS": {oauth2.Google, "", []string{"EWS"}, "not one of IMAP, POP3, SMTP"},
		"two tokens":   {m, "common", []string{"IMAP", "EWS"}, "need a token each"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tt.p.ForUser(tt.tenant, "app", driver.Secret{}, tt.protocols...)
			require.ErrorContains(t, err, tt.says)
			require.ErrorContains(t, err, tt.p.Name)
			assert.Equal(t, driver.KindConfig, driver.KindOf(err))
		})
	}
}

// Every preset makes configurations that pass their own checks.
func TestPresetsAreWhole(t *testing.T) {
	for _, p := range []oauth2.Provider{oauth2.Microsoft365, oauth2.Google} {
		for _, raw := range []string{p.TokenURL, p.DeviceURL} {
			u, err := url.Parse(strings.ReplaceAll(raw, "{tenant}", "t"))
			require.NoError(t, err)
			assert.Contains(t, []string{"https", ""}, u.Scheme)
		}
		assert.Len(t, p.Service, len(p.User))
		for proto := range p.User {
			tenant := ""
			if strings.Contains(p.TokenURL, "{tenant}") {
				tenant = "t"
			}
			c, err := p.ForService(tenant, "app", driver.NewSecret("x"), proto)
			require.NoError(t, err)
			_, err = c.ClientCredentials()
			require.NoError(t, err)
		}
	}
}
