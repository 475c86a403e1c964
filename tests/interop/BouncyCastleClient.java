import java.io.FileInputStream;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.KeyStore;
import java.security.Security;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.cert.TrustAnchor;
import java.security.cert.X509Certificate;
import java.util.Set;
import javax.net.ssl.KeyManagerFactory;
import org.bouncycastle.asn1.x500.X500Name;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cert.jcajce.JcaX509CertificateConverter;
import org.bouncycastle.est.ESTAuth;
import org.bouncycastle.est.ESTException;
import org.bouncycastle.est.ESTService;
import org.bouncycastle.est.EnrollmentResponse;
import org.bouncycastle.est.jcajce.JcaHttpAuthBuilder;
import org.bouncycastle.est.jcajce.JcaJceUtils;
import org.bouncycastle.est.jcajce.JsseESTServiceBuilder;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.operator.jcajce.JcaContentSignerBuilder;
import org.bouncycastle.pkcs.PKCS10CertificationRequest;
import org.bouncycastle.pkcs.jcajce.JcaPKCS10CertificationRequestBuilder;

/** Bouncy Castle's EST client. Arguments: a user, then for each operation its name, port, file of the CA certificate and password; prints a line for each. */
class BouncyCastleClient {
    static String where;
    static X509Certificate ca;
    static KeyPair keys;
    static X509Certificate own;

    static ESTService service(boolean withCertificate) throws Exception {
        JsseESTServiceBuilder builder = new JsseESTServiceBuilder(
            where, JcaJceUtils.getCertPathTrustManager(Set.of(new TrustAnchor(ca, null)), null));
        builder.withTimeout(60000);
        if (withCertificate) {
            KeyStore store = KeyStore.getInstance("PKCS12");
            store.load(null, null);
            store.setKeyEntry("own", keys.getPrivate(), new char[0], new Certificate[] {own});
            KeyManagerFactory factory = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
            factory.init(store, new char[0]);
            builder.withKeyManagers(factory.getKeyManagers());
        }
        return builder.build();
    }

    static PKCS10CertificationRequest request(String subject, boolean attributes) throws Exception {
        return new JcaPKCS10CertificationRequestBuilder(new X500Name(subject), keys.getPublic())
            .setLeaveOffEmptyAttributes(!attributes)
            .build(new JcaContentSignerBuilder("SHA256withECDSA").build(keys.getPrivate()));
    }

    static void keep(EnrollmentResponse answer) throws Exception {
        X509CertificateHolder[] holders = ESTService.storeToArray(answer.getStore());
        own = new JcaX509CertificateConverter().getCertificate(holders[0]);
        own.verify(ca.getPublicKey());
    }

    static String run(String operation, ESTAuth auth) throws Exception {
        switch (operation) {
            case "cacerts":
                return ESTService.storeToArray(service(false).getCACerts().getCertificateStore()).length + " certificates";
            case "csrattrs":
                return service(false).getCSRAttributes().hasAttributesResponse() ? "attributes" : "none";
            case "reenroll":
                keep(service(true).simpleEnroll(true, request(own.getSubjectX500Principal().getName(), true), null));
                return own.getSubjectX500Principal().getName();
            case "serverkeygen": {
                EnrollmentResponse answer = service(false).simpleEnrollWithServersideCreation(request("CN=board-1", true), auth);
                keep(answer);
                return own.getSubjectX500Principal().getName() + " and " + answer.getPrivateKeyInfo().getPrivateKeyAlgorithm().getAlgorithm();
            }
            case "enroll-twice": {
                ESTService service = service(false);
                EnrollmentResponse answer = service.simpleEnroll(false, request("CN=board-1", true), auth);
                if (answer.isCompleted()) {
                    throw new IllegalStateException("it did not have to wait");
                }
                Thread.sleep(Math.max(0, answer.getNotBefore() - System.currentTimeMillis()));
                keep(service.simpleEnroll(answer));
                return own.getSubjectX500Principal().getName() + " after waiting";
            }
            default:  // enroll, enroll-bare
                keep(service(false).simpleEnroll(false, request("CN=board-1", !operation.endsWith("bare")), auth));
                return own.getSubjectX500Principal().getName();
        }
    }

    public static void main(String[] arguments) throws Exception {
        Security.addProvider(new BouncyCastleProvider());
        KeyPairGenerator generator = KeyPairGenerator.getInstance("EC");
        generator.initialize(256);
        keys = generator.generateKeyPair();
        for (int index = 1; index < arguments.length; index += 4) {
            where = "127.0.0.1:" + arguments[index + 1];
            ca = (X509Certificate) CertificateFactory.getInstance("X.509")
                .generateCertificate(new FileInputStream(arguments[index + 2]));
            ESTAuth auth = new JcaHttpAuthBuilder(arguments[0], arguments[index + 3].toCharArray())
                .setProvider("BC").build();
            String outcome;
            try {
                outcome = run(arguments[index], auth);
            } catch (ESTException error) {
                outcome = "refused with " + error.getStatusCode();
            } catch (Exception error) {
                outcome = "failed: " + error;
            }
            System.out.println(outcome);
        }
    }
}
