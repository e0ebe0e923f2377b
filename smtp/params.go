package smtp

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

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
	Targets: func() []any {
		s, st, n, c := defaultSettings(), defaultStanding(), driver.NewNetwork(), driver.NewCommon()
		return []any{&s, &st, &n, &c, new(driver.Composing)}
	},
}

func rows() []driver.Param {
	network := slices.Clone(driver.NetworkRows(protocol, DefaultPort, DefaultTLSPort))
	for i := range network {
		if network[i].Name == protocol+" Timeout" {
			network[i].Default = "the limits of RFC 5321 section 4.5.3.2"
		}
	}
	return slices.Concat(network, backupRows, []driver.Param{
		{Name: "Save Sent Messages", Aliases: []string{"Save Sent Msg"}, Type: driver.ParamBool, Default: "FALSE", Text: "TRUE keeps a copy of each sent mail in the sent directory."},
		{Name: "Keep Unsent Messages", Type: driver.ParamBool, Default: "FALSE", Ours: true, Text: "TRUE keeps the file of a mail that could not be sent, too."},
		{Name: "SMTP Delivery Status Notification", Type: driver.ParamText, Default: "off", Ours: true, Text: "When to ask for delivery status notifications (RFC 3461): NEVER, or any of SUCCESS, FAILURE, DELAY separated by commas. The envelope id is the Message-ID."},
		{Name: "SMTP Helo Name", Type: driver.ParamText, Default: "the name of this machine", Ours: true, Text: "The name to greet the server with."},
		{Name: "LMTP", Aliases: []string{"SMTP LMTP"}, Type: driver.ParamBool, Default: "FALSE", Ours: true, Text: "TRUE speaks LMTP (RFC 2033), for delivery into a mail store: the server answers for each recipient by itself. The port must be given."},
		{Name: "Disable Chunking", Session: "DISABLECHUNKING", Type: driver.ParamBool, Default: "NO", Text: "YES uses neither CHUNKING nor PIPELINING, for virus scanners that do not understand them."},
		{Name: "SMTP Max Connections", Type: driver.ParamInt, Default: strconv.Itoa(DefaultMaxConnections), Ours: true, Min: 1, Max: 1000, Text: "Connections that are open to a server at most."},
		{Name: "SMTP Idle Time", Type: driver.ParamDuration, Default: "30", Ours: true, Max: 86400, Text: "How long a connection is kept for the next mail; 0 closes it after each."},
		{Name: "SMTP Data Timeout", Type: driver.ParamDuration, Default: "600", Ours: true, Min: 1, Max: 86400, Text: "Time for the answer to the end of a mail; less makes it more likely that nobody knows whether it was sent."},
		{Name: "SMTP Max Recipients", Type: driver.ParamInt, Default: strconv.Itoa(DefaultMaxRecipients), Ours: true, Min: 1, Max: 1_000_000, Text: "Recipients that one transmission of a mail has at most; more take several."},
		{Name: "SMTP Rate Limit Messages", Type: driver.ParamInt, Default: "0", Ours: true, Max: 1_000_000_000, Text: "Mails that are begun within the rate limit interval at most; 0 is no limit."},
		{Name: "SMTP Rate Limit Recipients", Type: driver.ParamInt, Default: "0", Ours: true, Max: 1_000_000_000, Text: "Recipients of mails that are begun within the rate limit interval at most; 0 is no limit."},
		{Name: "SMTP Rate Limit Interval", Type: driver.ParamDuration, Default: "60", Ours: true, Min: 1, Max: 366 * 86400, Text: "The interval of the two rows above."},
		{Name: "Long Email Body Directory", Type: driver.ParamPath, Ours: true, Text: "Where to write SiebelLongEmailBody.htm or .txt, in a directory for each mail, for sent mails whose body has more than 16 KB. Absent: nowhere."},
		{Name: "Save Email Body as Attachment", Type: driver.ParamBool, Default: "FALSE", Text: "TRUE writes that file for shorter bodies, too."},
		{Name: "Siebel Server", Type: driver.ParamText, Text: "Accepted and ignored, with a warning in the log: a process sends what it is given itself."},
		{Name: "PROTOCOLTYPE", Type: driver.ParamText, Choices: []string{protocol}, Text: "The protocol of a session description; must be that of the driver."},
	}, driver.ComposingRows(), driver.CommonRows())
}

// mechanisms maps the values of the authentication row to mechanisms.
var mechanisms = driver.SASLNames()

// FromParameters reads parameters by their documented names into the address
// and the options of [New]. Every wrong row is reported, all in one error of
// kind [driver.KindConfig].
func FromParameters(parameters map[string]string) (addr string, opts []driver.Option, err error) {
	return Params.Read(parameters)
}

// ignored has New warn of a parameter that means nothing here.
func ignored(parameter string) driver.Option {
	return standingOption("Ignored", func(s *standing) error { s.ignored = append(s.ignored, parameter); return nil })
}

func parameterOptions(v driver.Values) (addr string, opts []driver.Option, err error) {
	addr, network, nerr := driver.NetworkOptions(v, protocol, mechanisms)
	common, cerr := driver.CommonOptions(v)
	backup, berr := backupOptions(v)
	opts = slices.Concat(network, common, backup, driver.ComposingOptions(v), []driver.Option{
		WithDisableChunking(v.Bool("Disable Chunking", false)),
		WithAuthFailover(v.Bool("SMTP Failover On Login Failure", false)),
		WithMaxConnections(int(v.Int("SMTP Max Connections", DefaultMaxConnections))),
		WithIdleTime(v.Duration("SMTP Idle Time", DefaultIdleTime)),
		WithDataTimeout(v.Duration("SMTP Data Timeout", DefaultDataTimeout)),
		WithMaxRecipients(int(v.Int("SMTP Max Recipients", DefaultMaxRecipients))),
		WithLongBody(v.Text("Long Email Body Directory"), v.Bool("Save Email Body as Attachment", false)),
		WithSaveSent(v.Bool("Save Sent Messages", false)),
		WithKeepUnsent(v.Bool("Keep Unsent Messages", false)),
	})
	if mails, to := int(v.Int("SMTP Rate Limit Messages", 0)), int(v.Int("SMTP Rate Limit Recipients", 0)); mails > 0 || to > 0 {
		opts = append(opts, WithRateLimit(mails, to, v.Duration("SMTP Rate Limit Interval", time.Minute)))
	}
	if v.Has("SMTP Delivery Status Notification") {
		words := strings.FieldsFunc(strings.ToUpper(v.Text("SMTP Delivery Status Notification")), func(r rune) bool { return r == ',' || r == ' ' || r == ';' })
		if !(len(words) == 1 && (words[0] == "OFF" || words[0] == "FALSE")) {
			opts = append(opts, WithNotify(words...).ForParameter("SMTP Delivery Status Notification"))
		}
	}
	if v.Has("Siebel Server") {
		opts = append(opts, ignored("Siebel Server"))
	}
	var lerr error
	if v.Bool("LMTP", false) {
		opts = append(opts, WithLMTP().ForParameter("LMTP"))
		if !v.Has("SMTP Server Port") {
			lerr = &driver.ParamError{Name: "SMTP Server Port", Err: fmt.Errorf("%w for LMTP", driver.ErrParameterRequired)}
		}
	}
	if v.Has("SMTP Helo Name") {
		opts = append(opts, WithHeloName(v.Text("SMTP Helo Name")).ForParameter("SMTP Helo Name"))
	}
	return addr, opts, errors.Join(nerr, cerr, berr, lerr)
}
