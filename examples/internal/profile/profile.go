// Package profile is what the example programs share: it reads a profile and
// opens its driver. A profile is JSON:
//
//	{"name": "support", "driver": "Internet SMTP/POP3 Server",
//	 "parameters": {"POP3 Server": "pop.example.com", ...}}
package profile

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/ews"
	"github.com/maildriver/maildriver/imap"
	"github.com/maildriver/maildriver/pop3"
	"github.com/maildriver/maildriver/smtp"
	"github.com/maildriver/maildriver/webdav"
)

// A Profile is one mailbox or relay of a host.
type Profile struct {
	Name       string         `json:"name"`
	Driver     string         `json:"driver"`
	Parameters map[string]any `json:"parameters"`
}

// Registry knows the drivers that the examples link.
func Registry() *driver.Registry {
	reg := new(driver.Registry)
	reg.Add("POP3", pop3.Params)
	reg.Add("IMAP", imap.Params)
	reg.Add("SMTP", smtp.Params)
	reg.Add("WEBDAV", webdav.Params)
	reg.Add("EWS", ews.Params)
	reg.AddPair("Internet SMTP/POP3 Server", pop3.Params, smtp.Params)
	reg.AddPair("Internet SMTP/IMAP Server", imap.Params, smtp.Params)
	return reg
}

// Read reads a profile from a file.
func Read(file string) (*Profile, error) {
	data, err := os.ReadFile(file) //nolint:gosec // named by the user
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(strings.NewReader(string(data)))
	dec.UseNumber()
	dec.DisallowUnknownFields()
	var p Profile
	if err := dec.Decode(&p); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if p.Driver == "" {
		return nil, fmt.Errorf("%s: no driver is named", file)
	}
	return &p, nil
}

// Open opens the profile's driver.
func (p *Profile) Open(opts ...driver.Option) (driver.Driver, error) {
	params := make(map[string]string, len(p.Parameters))
	var errs []error
	for name, v := range p.Parameters {
		switch v := v.(type) {
		case string:
			params[name] = v
		case json.Number:
			params[name] = v.String()
		case bool:
			params[name] = fmt.Sprint(v)
		default:
			errs = append(errs, fmt.Errorf("parameter %q: the value must be a text, a number or a boolean", name))
		}
	}
	if p.Name != "" {
		opts = append([]driver.Option{driver.WithProfile(p.Name)}, opts...)
	}
	d, err := Registry().Open(p.Driver, params, opts...)
	if len(errs) > 0 {
		if err == nil {
			_ = d.Close()
		}
		return nil, errors.Join(append(errs, err)...)
	}
	return d, err
}

// Load is Read and Open. It prints what is wrong to standard error and ends
// the program with 2, the examples' status for a bad configuration.
func Load(file string, opts ...driver.Option) driver.Driver {
	p, err := Read(file)
	if err == nil {
		var d driver.Driver
		if d, err = p.Open(opts...); err == nil {
			return d
		}
	}
	for _, fault := range driver.Faults(err) {
		fmt.Fprintln(os.Stderr, fault)
	}
	os.Exit(2)
	return nil
}
