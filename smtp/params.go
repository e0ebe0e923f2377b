package smtp

import (
	"errors"
	"slices"
	"strings"

	"github.com/maildriver/maildriver/driver"
)

const protocol = "SMTP"

// Params is the driver's table of documented parameters, for a
// [driver.Registry]: reg.Add("SMTP", smtp.Params).
var Params = driver.Params{
	Protocol: protocol,
	Rows:     rows(),
	Options:  parameterOptions,
	New:      func(addr string, opts ...driver.Option) (driver.Driver, error) { return New(addr, opts...) },
	Takes:    driver.TakesAny((*settings)(nil), (*driver.Network)(nil), (*driver.Common)(nil)),
}

func rows() []driver.Param {
	return slices.Concat(driver.NetworkRows(protocol, DefaultPort, DefaultTLSPort), []driver.Param{
		{Name: "Save Sent Messages", Aliases: []string{"Save Sent Msg"}, Type: driver.ParamBool, Default: "FALSE", Text: "TRUE keeps a copy of each sent mail in the sent directory."},
		{Name: "Keep Unsent Messages", Type: driver.ParamBool, Default: "FALSE", Ours: true, Text: "TRUE keeps the file of a mail that could not be sent, too."},
		{Name: "SMTP Delivery Status Notification", Type: driver.ParamText, Default: "off", Ours: true, Text: "When to ask for delivery status notifications (RFC 3461): NEVER, or any of SUCCESS, FAILURE, DELAY separated by commas. The envelope id is the Message-ID."},
		{Name: "SMTP Helo Name", Type: driver.ParamText, Default: "the name of this machine", Ours: true, Text: "The name to greet the server with."},
		{Name: "Disable Chunking", Session: "DISABLECHUNKING", Type: driver.ParamBool, Default: "NO", Text: "YES uses neither CHUNKING nor PIPELINING. This driver uses neither yet, so the row changes nothing."},
		{Name: "PROTOCOLTYPE", Type: driver.ParamText, Choices: []string{protocol}, Text: "The protocol of a session description; must be that of the driver."},
	}, driver.CommonRows)
}

// mechanisms maps the values of the authentication row to mechanisms.
var mechanisms = map[string]string{
	"plain": "PLAIN", "login": "LOGIN", "crammd5": "CRAM-MD5", "external": "EXTERNAL",
}

// FromParameters reads parameters by their documented names into the address
// and the options of [New]. Every wrong row is reported, all in one error of
// kind [driver.KindConfig].
func FromParameters(parameters map[string]string) (addr string, opts []driver.Option, err error) {
	return Params.Read(parameters)
}

func parameterOptions(v driver.Values) (addr string, opts []driver.Option, err error) {
	addr, network, nerr := driver.NetworkOptions(v, protocol, mechanisms)
	common, cerr := driver.CommonOptions(v)
	opts = slices.Concat(network, common, []driver.Option{
		WithSaveSent(v.Bool("Save Sent Messages", false)),
		WithKeepUnsent(v.Bool("Keep Unsent Messages", false)),
	})
	if v.Has("SMTP Delivery Status Notification") {
		words := strings.FieldsFunc(strings.ToUpper(v.Text("SMTP Delivery Status Notification")), func(r rune) bool { return r == ',' || r == ' ' || r == ';' })
		if !(len(words) == 1 && (words[0] == "OFF" || words[0] == "FALSE")) {
			opts = append(opts, WithNotify(words...))
		}
	}
	if v.Has("SMTP Helo Name") {
		opts = append(opts, WithHeloName(v.Text("SMTP Helo Name")))
	}
	return addr, opts, errors.Join(nerr, cerr)
}
