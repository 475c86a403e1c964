import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.PrivateKey;
import java.security.Security;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.ECGenParameterSpec;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.List;
import javax.crypto.spec.SecretKeySpec;
import org.bouncycastle.asn1.ASN1Encoding;
import org.bouncycastle.asn1.ASN1ObjectIdentifier;
import org.bouncycastle.asn1.cms.AttributeTable;
import org.bouncycastle.asn1.cms.Attribute;
import org.bouncycastle.asn1.DERSet;
import org.bouncycastle.asn1.DERUTF8String;
import org.bouncycastle.asn1.pkcs.PKCSObjectIdentifiers;
import org.bouncycastle.cert.jcajce.JcaCertStore;
import org.bouncycastle.cms.*;
import org.bouncycastle.cms.jcajce.*;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.operator.OutputAEADEncryptor;
import org.bouncycastle.operator.OutputEncryptor;
import org.bouncycastle.operator.jcajce.JcaContentSignerBuilder;
import org.bouncycastle.operator.jcajce.JcaDigestCalculatorProviderBuilder;

/** Writes each kind of CMS that EST carries, whole and streaming, from what test_ber_oracle.py left in the folder. */
class BouncyCastle {
    static Path folder;

    static byte[] read(String name) throws Exception {
        return Files.readAllBytes(folder.resolve(name));
    }

    static void write(String name, byte[] data) throws Exception {
        Files.write(folder.resolve(name), data);
    }

    static X509Certificate certificate(String name) throws Exception {
        return (X509Certificate) CertificateFactory.getInstance("X.509")
            .generateCertificate(new ByteArrayInputStream(read(name)));
    }

    static SignerInfoGenerator signer() throws Exception {
        PrivateKey key = KeyFactory.getInstance("EC")
            .generatePrivate(new PKCS8EncodedKeySpec(read("ec.pkcs8")));
        return new JcaSignerInfoGeneratorBuilder(new JcaDigestCalculatorProviderBuilder().build())
            .build(new JcaContentSignerBuilder("SHA256withECDSA").build(key), certificate("ec.crt"));
    }

    interface Recipient {
        RecipientInfoGenerator make() throws Exception;
    }

    static OutputEncryptor cbc() throws Exception {
        return new JceCMSContentEncryptorBuilder(CMSAlgorithm.AES256_CBC).build();
    }

    static OutputAEADEncryptor gcm() throws Exception {
        return (OutputAEADEncryptor) new JceCMSContentEncryptorBuilder(CMSAlgorithm.AES128_GCM).setProvider("BC").build();
    }

    static void encrypt(String name, String kind, Recipient recipient) throws Exception {
        byte[] text = read("text");
        CMSTypedData content = new CMSProcessableByteArray(text);

        CMSEnvelopedDataGenerator enveloped = new CMSEnvelopedDataGenerator();
        enveloped.addRecipientInfoGenerator(recipient.make());
        write(name + "-whole." + kind, enveloped.generate(content, cbc()).getEncoded());

        CMSEnvelopedDataStreamGenerator streamed = new CMSEnvelopedDataStreamGenerator();
        streamed.addRecipientInfoGenerator(recipient.make());
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        try (OutputStream into = streamed.open(out, cbc())) {
            into.write(text);
        }
        write(name + "-streamed." + kind, out.toByteArray());

        AttributeTable attributes = new AttributeTable(
            new Attribute(PKCSObjectIdentifiers.pkcs_9_at_unstructuredName, new DERSet(new DERUTF8String("x"))));
        CMSAuthEnvelopedDataGenerator authenticated = new CMSAuthEnvelopedDataGenerator();
        authenticated.setAuthenticatedAttributeGenerator(new SimpleAttributeTableGenerator(attributes));
        authenticated.addRecipientInfoGenerator(recipient.make());
        write(name + "-auth." + kind, authenticated.generate(content, gcm()).getEncoded());
    }

    public static void main(String[] arguments) throws Exception {
        folder = Path.of(arguments[0]);
        Security.addProvider(new BouncyCastleProvider());
        JcaCertStore bag = new JcaCertStore(List.of(certificate("ec.crt"), certificate("rsa.crt")));

        CMSSignedDataGenerator only = new CMSSignedDataGenerator();
        only.addCertificates(bag);
        CMSSignedData certificates = only.generate(new CMSAbsentContent());
        write("bc-whole.certs", certificates.getEncoded());
        write("bc-dl.certs", certificates.toASN1Structure().getEncoded(ASN1Encoding.DL));
        write("bc-der.certs", certificates.toASN1Structure().getEncoded(ASN1Encoding.DER));

        for (String oid : new String[] {"1.2.840.113549.1.7.1", "1.3.6.1.5.5.7.12.2", "1.3.6.1.5.5.7.12.3"}) {
            ASN1ObjectIdentifier type = new ASN1ObjectIdentifier(oid);
            CMSSignedDataGenerator signed = new CMSSignedDataGenerator();
            signed.addCertificates(bag);
            signed.addSignerInfoGenerator(signer());
            CMSTypedData content = new CMSProcessableByteArray(type, read("text"));
            CMSSignedData whole = signed.generate(content, true);
            String name = "bc-" + oid.substring(oid.length() - 4);
            write(name + "-whole.signed", whole.getEncoded());
            write(name + "-der.signed", whole.toASN1Structure().getEncoded(ASN1Encoding.DER));

            CMSSignedDataStreamGenerator streamed = new CMSSignedDataStreamGenerator();
            streamed.addCertificates(bag);
            streamed.addSignerInfoGenerator(signer());
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            try (OutputStream into = streamed.open(type, out, true)) {
                into.write(read("text"));
            }
            write(name + "-streamed.signed", out.toByteArray());
        }

        SecretKeySpec secret = new SecretKeySpec(read("secret"), "AES");
        KeyPairGenerator pairs = KeyPairGenerator.getInstance("EC", "BC");
        pairs.initialize(new ECGenParameterSpec("P-256"));
        encrypt("bc-kek", "secret", () -> new JceKEKRecipientInfoGenerator("id".getBytes(), secret));
        encrypt("bc-rsa", "rsa", () -> new JceKeyTransRecipientInfoGenerator(certificate("rsa.crt")));
        encrypt("bc-ec", "ec", () -> {
            KeyPair ours = pairs.generateKeyPair();
            return new JceKeyAgreeRecipientInfoGenerator(
                CMSAlgorithm.ECDH_SHA256KDF, ours.getPrivate(), ours.getPublic(), CMSAlgorithm.AES128_WRAP)
                .addRecipient(certificate("ec.crt"));
        });
    }
}
