package pop3

import (
	"errors"
	"slices"

	"github.com/maildriver/maildriver/driver"
)

const protocol = "POP3"

// Params is the driver's table of documented parameters, for a
// [driver.Registry]: reg.Add("POP3", pop3.Params).
var Params = driver.Params{
	Protocol: protocol,
	Rows:     rows(),
	Options:  parameterOptions,
	New:      func(addr string, opts ...driver.Option) (driver.Driver, error) { return New(addr, opts...) },
	Targets:  func() []any { return newOptions().targets() },
}

func rows() []driver.Param {
	network := driver.NetworkRows(protocol, DefaultPort, DefaultTLSPort)
	for i := range network {
		switch r := &network[i]; r.Name {
		case "POP3 Account Name":
			r.Required = true
		case "POP3 Account Password":
			r.Aliases = []string{"Mail Password"}
		}
	}
	common := driver.CommonRows()
	for i := range common {
		if r := &common[i]; r.Name == "Spool Directory" {
			r.Required = true
		}
	}
	return slices.Concat(network, driver.InboundRows(protocol), common, []driver.Param{
		{Name: "PROTOCOLTYPE", Type: driver.ParamText, Choices: []string{protocol}, Text: "The protocol of a session description; must be that of the driver."},
	})
}

// mechanisms maps the values of the authentication row to mechanisms.
var mechanisms = driver.SASLNames("cleartext", "user", "apop")

// FromParameters reads parameters by their documented names into the address
// and the options of [New]. Every wrong row is reported, all in one error of
// kind [driver.KindConfig].
func FromParameters(parameters map[string]string) (addr string, opts []driver.Option, err error) {
	return Params.Read(parameters)
}

func parameterOptions(v driver.Values) (addr string, opts []driver.Option, err error) {
	addr, network, nerr := driver.NetworkOptions(v, protocol, mechanisms)
	common, cerr := driver.CommonOptions(v)
	return addr, slices.Concat(network, driver.InboundOptions(v, protocol), common), errors.Join(nerr, cerr)
}
