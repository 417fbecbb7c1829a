package cli

import (
	"errors"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"port53/internal/app"
)

// newConfigProfile returns port53 config profile.
func newConfigProfile(s *streams) *cobra.Command {
	var file, format string
	var addresses []string
	cmd := &cobra.Command{
		Use:   "profile [--config FILE] [--format FORMAT] [--address ADDRESS]...",
		Short: "Print the settings that make phones and DHCP clients use the encrypted transports",
		Long: `port53 config profile prints settings that tell clients the server's name (encrypted.name in the
configuration) and the encrypted transports that it serves:

  apple     a configuration profile (.mobileconfig) for iOS, iPadOS, macOS and tvOS
  dnr       the DHCP options of RFC 9463, in words and in hexadecimal
  kea       these options, written as option-data for Kea (DHCPv4 and DHCPv6)
  dnsmasq   these options, written for dnsmasq.conf
  dhcpd     these options, written for dhcpd.conf of ISC DHCP
  networkd  these options, written for a .network file of systemd-networkd (DHCPv4)

Addresses are those of the listeners. If a listener has 0.0.0.0 or ::, use
--address to give the addresses that clients use. A DHCPv6 option announces one transport only:
DNS over TLS if the server offers it, otherwise DNS over HTTPS, otherwise DNS over QUIC.

Apple profiles for the same server name have the same identifiers, so that a new profile replaces
the previous one.

Clients that find the server by its address need none of these settings: see encrypted.ddr.`,
		Example: `  port53 config profile > dns.mobileconfig
  port53 config profile --format kea --address 192.0.2.53`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if !slices.Contains(app.ProfileFormats(), format) {
				return failure(exitUsage, "", "--format: expected one of %s, found %q", strings.Join(app.ProfileFormats(), ", "), format)
			}
			var addrs []netip.Addr
			for _, text := range addresses {
				a, err := netip.ParseAddr(text)
				if err != nil || a.IsUnspecified() || a.Zone() != "" {
					return failure(exitUsage, "", "--address: expected an address such as 192.0.2.53, found %q", text)
				}
				addrs = append(addrs, a.Unmap())
			}
			c, _, err := loadConfig(file)
			if err != nil {
				return err
			}
			text, err := app.Profile(c, format, addrs)
			if errors.Is(err, app.ErrProfile) {
				return failure(exitUsage, "encrypted needs a name and a listener; --address names where clients reach it", "%v", err)
			} else if err != nil {
				return err
			}
			_, err = s.out.Write(text)
			return err
		},
	}
	configFlag(cmd, &file)
	cmd.Flags().StringVar(&format, "format", "apple", "apple, dnr, kea, dnsmasq, dhcpd or networkd")
	cmd.Flags().StringSliceVar(&addresses, "address", nil, "where clients reach the server, instead of its listeners")
	return cmd
}
