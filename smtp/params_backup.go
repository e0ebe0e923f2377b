package smtp

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/maildriver/maildriver/driver"
)

var backupRows = []driver.Param{
	{Name: "SMTP Backup Server", Type: driver.ParamText, Ours: true, Text: "Host name or address of the server to use while the first cannot be used."},
	{Name: "SMTP Backup Server Port", Aliases: []string{"SMTP Backup Port"}, Type: driver.ParamInt, Default: fmt.Sprintf("%d, or %d with implicit TLS", DefaultPort, DefaultTLSPort), Ours: true, Min: 1, Max: 65535, Text: "Its port."},
	{Name: "SMTP Backup Account Name", Type: driver.ParamText, Text: "The user to log in there as; the first server's login is never used."},
	{Name: "SMTP Backup Account Password", Type: driver.ParamSecret, Text: "That user's password."},
	{Name: "SMTP Backup Server Period", Type: driver.ParamDuration, Default: "300", Ours: true, Min: 1, Max: 366 * 86400, Text: "How long the backup server is used before the first is tried again."},
	{Name: "Enable SSL for Backup SMTP", Type: driver.ParamBool, Default: "as for the first server", Ours: true, Text: "TRUE speaks TLS with the backup server from the start."},
	{Name: "Enable TLS for Backup SMTP", Type: driver.ParamBool, Default: "as for the first server", Ours: true, Text: "TRUE upgrades to TLS with STARTTLS."},
	{Name: "SMTP Failover On Login Failure", Type: driver.ParamBool, Default: "FALSE", Ours: true, Text: "TRUE uses the backup server also when the first refuses the login."},
}

// backupOptions turns backupRows into options.
func backupOptions(v driver.Values) ([]driver.Option, error) {
	const server, user, pass = "SMTP Backup Server", "SMTP Backup Account Name", "SMTP Backup Account Password"
	if !v.Has(server) {
		for _, r := range backupRows {
			if v.Has(r.Name) && r.Name != "SMTP Failover On Login Failure" {
				return nil, &driver.ParamError{Name: server, Err: fmt.Errorf("%w when %q is given", driver.ErrParameterRequired, r.Name)}
			}
		}
		return nil, nil
	}
	addr := v.Text(server)
	if v.Has("SMTP Backup Server Port") {
		addr = net.JoinHostPort(addr, strconv.FormatInt(v.Int("SMTP Backup Server Port", 0), 10))
	}
	var opts []driver.Option
	var errs []error
	switch ssl, starttls := v.Bool("Enable SSL for Backup SMTP", false), v.Bool("Enable TLS for Backup SMTP", false); {
	case ssl && starttls:
		errs = append(errs, &driver.ParamError{Name: "Enable SSL for Backup SMTP", Err: errors.New(`cannot be TRUE together with "Enable TLS for Backup SMTP"`)})
	case ssl:
		opts = append(opts, driver.WithSecurity(driver.SecurityImplicit))
	case starttls:
		opts = append(opts, driver.WithSecurity(driver.SecurityExplicit))
	case v.Has("Enable SSL for Backup SMTP") || v.Has("Enable TLS for Backup SMTP"):
		opts = append(opts, driver.WithSecurity(driver.SecurityNone))
	}
	switch {
	case v.Has(user) && v.Has(pass):
		opts = append(opts, driver.WithLogin(v.Text(user), v.Secret(pass)))
	case v.Has(user):
		errs = append(errs, &driver.ParamError{Name: pass, Err: fmt.Errorf("%w with an account name", driver.ErrParameterRequired)})
	case v.Has(pass):
		errs = append(errs, &driver.ParamError{Name: user, Err: fmt.Errorf("%w with a password", driver.ErrParameterRequired)})
	}
	all := []driver.Option{WithBackup(addr, opts...).ForParameter(server)}
	if v.Has("SMTP Backup Server Period") {
		all = append(all, WithBackupPeriod(v.Duration("SMTP Backup Server Period", DefaultBackupPeriod)))
	}
	return all, errors.Join(errs...)
}
