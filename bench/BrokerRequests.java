import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Map;
import java.util.StringJoiner;
import java.util.TreeMap;
import javax.management.MBeanServerConnection;
import javax.management.ObjectName;
import javax.management.remote.JMXConnector;
import javax.management.remote.JMXConnectorFactory;
import javax.management.remote.JMXServiceURL;

import com.sun.tools.attach.VirtualMachine;

/**
 * Requests that a Kafka broker has handled since its start, by API.
 *
 * <p>Usage: java BrokerRequests.java PID. Starts the management agent of the broker's JVM, which answers processes of
 * the same machine only, and prints one JSON object for each line read from standard input: {"Produce": 12, …}. Versions
 * of an API are added up.
 */
public final class BrokerRequests {
    private static final String PATTERN = "kafka.network:type=RequestMetrics,name=RequestsPerSec,*";

    public static void main(String[] arguments) throws Exception {
        VirtualMachine broker = VirtualMachine.attach(arguments[0]);
        String address = broker.startLocalManagementAgent();
        broker.detach();
        try (JMXConnector connector = JMXConnectorFactory.connect(new JMXServiceURL(address))) {
            MBeanServerConnection server = connector.getMBeanServerConnection();
            BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
            while (lines.readLine() != null) {
                System.out.println(counts(server));
                System.out.flush();
            }
        }
    }

    private static String counts(MBeanServerConnection server) throws Exception {
        Map<String, Long> counts = new TreeMap<>();
        for (ObjectName name : server.queryNames(new ObjectName(PATTERN), null)) {
            long count = ((Number) server.getAttribute(name, "Count")).longValue();
            counts.merge(name.getKeyProperty("request"), count, Long::sum);
        }
        StringJoiner json = new StringJoiner(", ", "{", "}");
        counts.forEach((api, count) -> json.add("\"" + api + "\": " + count));
        return json.toString();
    }
}
