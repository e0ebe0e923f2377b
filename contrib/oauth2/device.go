package oauth2

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	xoauth2 "golang.org/x/oauth2"

	"github.com/maildriver/maildriver/driver"
)

const (
	grantDevice  = "urn:ietf:params:oauth:grant-type:device_code"
	codePending  = "authorization_pending"
	codeSlowDown = "slow_down"

	// defaultInterval and slowDown are those of RFC 8628, sections 3.2 and 3.5.
	defaultInterval = 5 * time.Second
	slowDown        = 5 * time.Second
	maxInterval     = 5 * time.Minute
	// maxDeviceLife bounds the wait for the user, whatever the server says.
	maxDeviceLife = time.Hour
	// maxUserText is more than a code or address for people can be.
	maxUserText = 2048
)

// A DeviceCode is what the user needs to authorise the application.
type DeviceCode struct {
	UserCode string // to type in
	URL      string // where to type it in
	// URLComplete holds the code already, for links and QR codes; "" if the
	// server has none.
	URLComplete string
	Expiry      time.Time // when the code ends
}

// A Grant is what an authorisation gave.
type Grant struct {
	Access driver.Token
	// Refresh is for [Config.RefreshToken]; zero if the server gave none, as
	// happens when the scope offline_access was not asked for.
	Refresh driver.Secret
}

// Device authorises the application with the help of a user who has a browser
// somewhere (RFC 8628). show gets what the user must know and returns at once;
// Device then waits until the user has answered, the code has ended (an hour at
// most) or ctx ends. A connection that fails meanwhile is tried again, ever
// more slowly.
func (c Config) Device(ctx context.Context, show func(context.Context, DeviceCode) error) (Grant, error) {
	if err := c.check(true); err != nil {
		return Grant{}, err
	}
	if err := checkURL(c.DeviceURL); err != nil {
		return Grant{}, configError(fmt.Errorf("the DeviceURL %w", err))
	}
	da, err := c.deviceCode(ctx)
	if err != nil {
		return Grant{}, err
	}
	code := DeviceCode{UserCode: da.UserCode, URL: da.VerificationURI, URLComplete: da.VerificationURIComplete, Expiry: da.Expiry}
	if err := show(ctx, code); err != nil {
		return Grant{}, wrap(driver.KindLocal, &Error{Step: StepShow, Err: err})
	}
	tok, err := c.poll(ctx, da)
	if err != nil {
		return Grant{}, err
	}
	return Grant{Access: toDriver(tok), Refresh: driver.NewSecret(tok.RefreshToken)}, nil
}

func (c *Config) deviceCode(ctx context.Context) (*xoauth2.DeviceAuthResponse, error) {
	form := url.Values{}
	own, err := resolve(ctx, c.Secret)
	if err != nil {
		return nil, err
	}
	secrets := []string{own}
	if err := c.assert(ctx, form, &secrets); err != nil {
		return nil, err
	}
	if own != "" && !c.SecretInHeader {
		form.Set("client_secret", own)
	}
	var opts []xoauth2.AuthCodeOption
	for name := range form {
		opts = append(opts, xoauth2.SetAuthURLParam(name, form.Get(name)))
	}
	conf := xoauth2.Config{
		ClientID: c.ClientID, Scopes: c.Scopes,
		Endpoint: xoauth2.Endpoint{TokenURL: c.TokenURL, DeviceAuthURL: c.DeviceURL},
	}
	da, err := conf.DeviceAuth(c.withClient(ctx), opts...)
	if err == nil {
		err = checkDevice(da)
	}
	if err != nil {
		return nil, explain(ctx, StepDevice, err, secrets)
	}
	return da, nil
}

// checkDevice makes the answer fit to be shown and to be timed by.
func checkDevice(da *xoauth2.DeviceAuthResponse) error {
	if da == nil || da.DeviceCode == "" || da.UserCode == "" || da.VerificationURI == "" {
		return wrap(driver.KindProtocol, &Error{Step: StepDevice, Err: errors.New("the answer lacks a code or the address for the user")})
	}
	for _, s := range []string{da.UserCode, da.VerificationURI, da.VerificationURIComplete} {
		if len(s) > maxUserText || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
			return wrap(driver.KindProtocol, &Error{Step: StepDevice, Err: errors.New("the answer holds text that is not fit to be shown")})
		}
	}
	for _, s := range []string{da.VerificationURI, da.VerificationURIComplete} {
		if s != "" && checkURL(s) != nil {
			return wrap(driver.KindPolicy, &Error{Step: StepDevice, Err: errors.New("the address for the user is not https")})
		}
	}
	if latest := time.Now().Add(maxDeviceLife); da.Expiry.IsZero() || da.Expiry.After(latest) {
		da.Expiry = latest
	}
	return nil
}

// poll asks for the token until there is one (RFC 8628 sections 3.4 and 3.5).
func (c *Config) poll(ctx context.Context, da *xoauth2.DeviceAuthResponse) (*xoauth2.Token, error) {
	wait := defaultInterval
	if da.Interval > 0 {
		wait = time.Duration(min(da.Interval, int64(maxInterval/time.Second))) * time.Second
	}
	over, cancel := context.WithDeadlineCause(ctx, da.Expiry, ErrDeviceExpired)
	defer cancel()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-over.Done():
			return nil, pollEnded(ctx, over)
		case <-timer.C:
		}
		tok, err := c.ask(over, url.Values{"grant_type": {grantDevice}, "device_code": {da.DeviceCode}})
		if err == nil {
			return tok, nil
		}
		if over.Err() != nil {
			return nil, pollEnded(ctx, over)
		}
		e, ok := errors.AsType[*Error](err)
		switch {
		case !ok:
			return nil, err
		case e.Code == codePending:
		case e.Code == codeSlowDown:
			wait += slowDown
		case driver.KindOf(err) == driver.KindTemporary:
			wait *= 2 // section 3.5: a connection timeout slows down, too
		default:
			return nil, err
		}
		wait = min(wait, maxInterval)
		timer.Reset(wait)
	}
}

func pollEnded(ctx, over context.Context) error {
	if ctx.Err() == nil {
		return wrap(driver.KindAuth, &Error{Step: StepToken, Err: context.Cause(over)})
	}
	return explain(ctx, StepToken, ctx.Err(), nil)
}
