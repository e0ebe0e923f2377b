package driver

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// SASLNames are the names that the Authentication row of a protocol may have,
// written as [ParamKey] does, and what [WithMechanisms] takes for them: all SASL
// mechanisms of this module, and the protocol's own ones of "cleartext", "user"
// and "apop".
func SASLNames(own ...string) map[string]string {
	names := map[string]string{}
	for key := range mechanismNames {
		switch key {
		case "cleartext", "user", "apop":
		default:
			names[key] = key
		}
	}
	for _, key := range own {
		names[key] = key
	}
	return names
}

func authRowText(protocol string) string {
	own := map[string]string{"POP3": ", ClearText (USER and PASS), APOP", "IMAP": ", ClearText (the LOGIN command)"}
	return "How to log in. Auto takes the strongest that the server offers, and never NTLM; or one of plain, Login, CramMD5, DigestMD5, " +
		"SCRAM-SHA-1 and SCRAM-SHA-256 (both with -PLUS when bound to the TLS connection), NTLM, GSSapi, OAuth20 (OAUTHBEARER or XOAUTH2), EXTERNAL" +
		own[protocol] + "."
}

// needsNoAccount tells the mechanisms for which a certificate, a ticket or a
// token says who logs in.
func needsNoAccount(mechanism string) bool {
	return slices.Contains([]string{"EXTERNAL", "GSSAPI", "NEGOTIATE", "OAUTHBEARER", "BEARER"}, mechanism)
}

// loginOptions turns the rows of the login into options.
func loginOptions(v Values, protocol string, names map[string]string) (opts []Option, err error) {
	var errs []error
	bad := func(name string, err error) { errs = append(errs, &ParamError{name, err}) }
	user, pass, token, auth := protocol+" Account Name", protocol+" Account Password", protocol+" Access Token", protocol+" Authentication"

	bare := v.Has(token) // no password is needed
	needed := ""         // the row that counts only with an account
	ticket := false      // the mechanism named needs no account
	if text := v.Text(auth); text != "" && ParamKey(text) != "auto" {
		mech, ok := names[ParamKey(text)]
		if !ok {
			bad(auth, fmt.Errorf("%q is not a mechanism of this driver", text))
		} else {
			opts = append(opts, WithMechanisms(mech).ForParameter(auth))
		}
		list := MechanismsOf(text)
		for _, m := range list {
			bare = bare || slices.Contains([]string{"EXTERNAL", "GSSAPI", "NEGOTIATE", "OAUTHBEARER", "XOAUTH2", "BEARER"}, m)
		}
		if ok && !slices.ContainsFunc(list, needsNoAccount) {
			needed = auth
		}
		ticket = slices.ContainsFunc(list, needsNoAccount)
	}
	for _, row := range []string{" Domain Name", " Service Principal Name"} {
		if name := protocol + row; needed == "" && !ticket && v.Has(name) {
			needed = name
		}
	}
	switch {
	case v.Has(user) && (v.Has(pass) || bare):
		opts = append(opts, WithLogin(v.Text(user), v.Secret(pass)).ForParameter(user))
	case v.Has(user):
		bad(pass, fmt.Errorf("%w with an account name", ErrParameterRequired))
	case v.Has(pass):
		bad(user, fmt.Errorf("%w with a password", ErrParameterRequired))
	case needed != "":
		// Nobody would log in, and it would look as if somebody did.
		bad(user, fmt.Errorf("%w with %q", ErrParameterRequired, needed))
	}
	if v.Has(token) {
		secret := v.Secret(token)
		opts = append(opts, WithTokenSource(func(context.Context) (Token, error) { return Token{Value: secret}, nil }).ForParameter(token))
	}
	if name := protocol + " Domain Name"; v.Has(name) {
		opts = append(opts, WithDomain(v.Text(name)).ForParameter(name))
	}
	if name := protocol + " Service Principal Name"; v.Has(name) {
		opts = append(opts, WithSPN(v.Text(name)).ForParameter(name))
	}
	return opts, errors.Join(errs...)
}
