import java.io.FileInputStream;
import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.concurrent.TimeUnit;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import org.fusesource.mqtt.client.BlockingConnection;
import org.fusesource.mqtt.client.MQTT;
import org.fusesource.mqtt.client.Message;
import org.fusesource.mqtt.client.QoS;
import org.fusesource.mqtt.client.Topic;

/**
 * The tutorial's publisher or subscriber with FuseSource's client over JSSE.
 *
 * Usage: TutorialClient pub|sub PORT FOLDER USER TOPIC [TEXT]; sub prints one message.
 */
public final class TutorialClient {
    private static final int WAIT_S = 60;

    private TutorialClient() {
    }

    public static void main(String[] words) throws Exception {
        String folder = words[2];
        String user = words[3];
        String topic = words[4];
        MQTT mqtt = new MQTT();
        mqtt.setHost("ssl://localhost:" + words[1]);
        mqtt.setClientId("java-" + user);
        mqtt.setVersion("3.1.1");
        mqtt.setUserName(user);
        mqtt.setPassword(user + "-pw");
        mqtt.setConnectAttemptsMax(0);
        mqtt.setSslContext(context(folder, user, (user + "-secret").toCharArray()));
        BlockingConnection connection = mqtt.blockingConnection();
        connection.connect();
        if (words[0].equals("pub")) {
            byte[] text = words[5].getBytes(StandardCharsets.UTF_8);
            connection.publish(topic, text, QoS.AT_LEAST_ONCE, false);
        } else {
            connection.subscribe(new Topic[] {new Topic(topic, QoS.AT_LEAST_ONCE)});
            Message message = connection.receive(WAIT_S, TimeUnit.SECONDS);
            if (message == null) {
                throw new IllegalStateException("no message came");
            }
            message.ack();
            System.out.println(new String(message.getPayload(), StandardCharsets.UTF_8));
        }
        connection.disconnect();
        System.exit(0);
    }

    private static SSLContext context(String folder, String user, char[] passphrase) throws Exception {
        KeyStore own = KeyStore.getInstance("PKCS12");
        try (FileInputStream file = new FileInputStream(folder + "/" + user + ".p12")) {
            own.load(file, passphrase);
        }
        KeyManagerFactory keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        keys.init(own, passphrase);
        KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());
        trusted.load(null, null);
        try (FileInputStream file = new FileInputStream(folder + "/m2mqtt_ca.crt")) {
            trusted.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(trusted);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), trust.getTrustManagers(), null);
        return context;
    }
}
